//! How `lbctl` ends: exit codes, and errors on stderr.
//!
//! Role: turns every way to fail into a code and a text. Imports `api` only.
//! Always holds: codes keep their meaning, because scripts act on them; with `-o json` an error is one JSON object, an
//! [`ApiError`], on stderr, and stdout is empty.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use super::args::Output;
use super::render::text::plain;
use crate::api::client::ClientError;
use crate::api::error::{ApiError, ErrorCode};

/// How `lbctl` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the agent refused, or something failed.
    Failed,
    /// 2: called wrongly.
    Usage,
    /// 3: the agent cannot be reached.
    Unreachable,
    /// 4: not done within the time that it was given.
    Deadline,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Deadline => 4,
        })
    }
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The agent refused or cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was waited for did not come about: in time ([`ErrorCode::Deadline`]), or at all.
    #[error(transparent)]
    Waited(ApiError),
    /// The result cannot be written as JSON.
    #[error("cannot write the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Stdout is closed or full.
    #[error("cannot write to stdout: {0}")]
    Output(#[source] io::Error),
    /// The operating system gives no event loop.
    #[error("cannot start: {0}; see the limits on open files (ulimit -n)")]
    Runtime(#[source] io::Error),
}

impl CliError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Waited(error) if error.code == ErrorCode::Deadline => Exit::Deadline,
            Self::Client(ClientError::Refused(_))
            | Self::Waited(_)
            | Self::Json(_)
            | Self::Output(_)
            | Self::Runtime(_) => Exit::Failed,
            Self::Client(_) => Exit::Unreachable,
        }
    }

    /// What is printed on stderr, with its newline.
    pub fn render(&self, output: Output) -> String {
        match (output, self) {
            (Output::Json, Self::Client(error)) => json(&error.to_api_error()),
            (Output::Json, Self::Waited(error)) => json(error),
            (Output::Json, other) => json(&ApiError::new(ErrorCode::Internal, other.to_string())),
            (Output::Table, Self::Client(ClientError::Refused(error)) | Self::Waited(error)) => {
                refusal(error)
            }
            (Output::Table, other) => format!("error: {}\n", plain(&other.to_string())),
        }
    }
}

/// Prints the error on stderr.
pub(super) fn report(error: &CliError, output: Output) -> Exit {
    to_stderr(&error.render(output));
    error.exit()
}

/// Prints what the agent wants the operator to know. JSON carries the warnings in the result already.
pub(super) fn report_warnings(warnings: &[String], output: Output) {
    if output == Output::Table {
        for warning in warnings {
            to_stderr(&format!("warning: {}\n", plain(warning)));
        }
    }
}

/// Prints clap's answer: help and version are no errors.
pub(super) fn report_usage(error: &clap::Error, json_wanted: bool) -> Exit {
    if !error.use_stderr() {
        // Nothing can be done about a closed stdout here.
        let _: io::Result<()> = error.print();
        return Exit::Done;
    }
    if json_wanted {
        to_stderr(&json(&usage_error(error)));
    } else {
        let _: io::Result<()> = error.print();
    }
    Exit::Usage
}

/// Whether the arguments ask for JSON, for when they could not be parsed.
pub(super) fn wants_json(arguments: &[OsString]) -> bool {
    let texts: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    texts.iter().any(|text| matches!(text.as_ref(), "-ojson" | "-o=json" | "--output=json"))
        || texts.windows(2).any(|pair| matches!(pair[0].as_ref(), "-o" | "--output") && pair[1] == "json")
}

fn usage_error(error: &clap::Error) -> ApiError {
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    ApiError::new(ErrorCode::Usage, message).with_hint("see lbctl --help")
}

fn refusal(error: &ApiError) -> String {
    let mut lines = vec![format!("error: {}", plain(&error.message))];
    for detail in &error.details {
        lines.push(format!("  line {}, column {}: {}", detail.line, detail.column, plain(&detail.message)));
        lines.extend(detail.hint.iter().map(|hint| format!("    hint: {}", plain(hint))));
    }
    lines.extend(error.hint.iter().map(|hint| format!("hint: {}", plain(hint))));
    lines.join("\n") + "\n"
}

fn json(error: &ApiError) -> String {
    // An ApiError is strings and numbers only, so this cannot fail; the message alone would still be of use.
    let text = serde_json::to_string_pretty(error).unwrap_or_else(|_| error.message.clone());
    text + "\n"
}

pub(super) fn to_stderr(text: &str) {
    // There is nowhere left to say that stderr is closed.
    let _: io::Result<()> = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::api::error::ErrorDetail;
    use crate::cli::args::Cli;

    fn invalid_config() -> CliError {
        let error = ApiError::new(ErrorCode::InvalidConfig, "/etc/lb/lb.toml: 1 error, nothing was changed")
            .with_hint("correct the file, then: lbctl reload")
            .with_details(vec![ErrorDetail {
                line: 12,
                column: 8,
                message: "unknown pool \"wbe\"".into(),
                hint: Some("there is a pool \"web\"".into()),
            }]);
        ClientError::Refused(error).into()
    }

    #[test]
    fn a_refusal_names_every_place_and_what_to_do() {
        let wanted = "\
error: /etc/lb/lb.toml: 1 error, nothing was changed
  line 12, column 8: unknown pool \"wbe\"
    hint: there is a pool \"web\"
hint: correct the file, then: lbctl reload
";
        assert_eq!(invalid_config().render(Output::Table), wanted);
        assert_eq!(invalid_config().exit(), Exit::Failed);
    }

    #[test]
    fn in_json_a_refusal_is_the_apis_own_error() {
        let CliError::Client(ClientError::Refused(wanted)) = invalid_config() else { panic!() };
        let text = invalid_config().render(Output::Json);
        assert_eq!(serde_json::from_str::<ApiError>(&text).unwrap(), wanted);
    }

    #[test]
    fn an_absent_agent_is_named_with_how_to_start_it() {
        let error = || CliError::Client(ClientError::NoSocket { socket: "/run/lb/lbd.sock".into() });
        assert_eq!(error().exit(), Exit::Unreachable);
        let text = error().render(Output::Table);
        assert!(
            text.starts_with("error: lbd is not running (no socket at /run/lb/lbd.sock); start it with"),
            "{text}"
        );
        let json: ApiError = serde_json::from_str(&error().render(Output::Json)).unwrap();
        assert_eq!(json.code, ErrorCode::AgentUnreachable);
        assert_eq!(json.message, "lbd is not running (no socket at /run/lb/lbd.sock)");
        assert!(json.hint.unwrap().starts_with("start it with"));
    }

    #[test]
    fn a_deadline_has_a_code_of_its_own() {
        let waited =
            |code| CliError::Waited(ApiError::new(code, "web/web1 is not drained").with_hint("wait"));
        assert_eq!(waited(ErrorCode::Deadline).exit(), Exit::Deadline);
        assert_eq!(waited(ErrorCode::NotFound).exit(), Exit::Failed);
        let error = waited(ErrorCode::Deadline);
        assert_eq!(error.render(Output::Table), "error: web/web1 is not drained\nhint: wait\n");
        assert!(error.render(Output::Json).contains("\"code\": \"deadline\""));
    }

    #[test]
    fn a_terminal_is_safe_from_what_a_server_says() {
        let error = ApiError::new(ErrorCode::Internal, "\u{1b}[2Jgone\nerror: forged");
        let text = CliError::from(ClientError::Refused(error)).render(Output::Table);
        assert_eq!(text, "error: \\u{1b}[2Jgone\\nerror: forged\n");
    }

    #[test]
    fn wrong_use_is_json_where_json_is_wanted() {
        let error = Cli::try_parse_from(["lbctl", "-o", "json", "backend", "drain", "web1"]).unwrap_err();
        let api = usage_error(&error);
        assert_eq!(api.code, ErrorCode::Usage);
        assert!(api.message.starts_with("invalid value 'web1' for '<POOL/NAME>'"), "{}", api.message);
        for line in ["-o json x", "--output json", "--output=json", "-ojson"] {
            assert!(wants_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>()), "{line}");
        }
        for line in ["-o table json", "json", "-o"] {
            assert!(!wants_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>()), "{line}");
        }
    }
}
