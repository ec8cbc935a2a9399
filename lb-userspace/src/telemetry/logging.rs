//! The process's log: human-readable lines on stderr.
//!
//! Role: sets up `tracing`, and brings the `log` crate's records (aya-log, libraries) into it.
//! Always holds: under systemd a line carries its syslog priority and no time, both of which the journal shows
//! by itself; elsewhere a line carries its time, and colours on a terminal only.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::{Compact, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Environment variable whose filter takes the place of the default one, such as `debug` or
/// `info,lb_userspace::health=debug` (the directives of `tracing_subscriber::EnvFilter`).
pub const LOG_VARIABLE: &str = "LB_LOG";

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// A filter that cannot be read.
    #[error(
        "{origin}: the log filter {filter:?} is not valid (use a level such as \"info\", or \"info,MODULE=debug\")"
    )]
    Filter {
        /// Where the filter comes from.
        origin: &'static str,
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The variable is not text.
    #[error("the value of {LOG_VARIABLE} is not UTF-8")]
    NotText,
    /// This process has a log already.
    #[error("the log of this process is set up already")]
    AlreadySet(#[from] TryInitError),
}

/// Sends `tracing` events and `log` records that pass the filter to stderr, for the rest of the process's life.
///
/// The filter is that of [`LOG_VARIABLE`], or `default_filter` (of the same form) if that is unset or empty.
///
/// # Errors
/// A filter that is not valid; a second call.
pub fn init_logging(default_filter: &str) -> Result<(), LoggingError> {
    let filter = filter(env::var(LOG_VARIABLE), default_filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if stderr_is_journal() {
        let plain = Format::default().compact().without_time().with_level(false).with_ansi(false);
        builder.with_ansi(false).event_format(JournalLine(plain)).finish().try_init()?;
    } else {
        builder.compact().with_ansi(io::stderr().is_terminal()).finish().try_init()?;
    }
    Ok(())
}

fn filter(variable: Result<String, env::VarError>, default: &str) -> Result<EnvFilter, LoggingError> {
    let (origin, filter) = match variable {
        Ok(filter) if !filter.trim().is_empty() => (LOG_VARIABLE, filter),
        Ok(_) | Err(env::VarError::NotPresent) => ("default log level", default.to_owned()),
        Err(env::VarError::NotUnicode(_)) => return Err(LoggingError::NotText),
    };
    EnvFilter::try_new(&filter).map_err(|source| LoggingError::Filter { origin, filter, source })
}

/// Whether systemd connected stderr to the journal: `JOURNAL_STREAM` holds its device and inode
/// (systemd.exec(5)). The variable alone is not enough, for it is inherited by children that write elsewhere.
fn stderr_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A line for the journal: its syslog priority in front (sd-daemon(3)), the rest as the inner format has it.
struct JournalLine(Format<Compact, ()>);

impl<S, N> FormatEvent<S, N> for JournalLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let normalized = event.normalized_metadata();
        let level = normalized.as_ref().map_or(event.metadata().level(), tracing::Metadata::level);
        write!(writer, "<{}>", priority(*level))?;
        self.0.format_event(context, writer, event)
    }
}

/// Syslog priority of a level (RFC 5424, 6.2.1): error 3, warning 4, informational 6, debug 7.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::linux::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    /// Set in the process that [`lines_of`] starts.
    const CHILD: &str = "LB_TEST_LOGGING_CHILD";

    /// The log is set up once a process, so the tests watch this one in a process of its own.
    #[test]
    fn child_writes_a_log() {
        if env::var_os(CHILD).is_none() {
            return;
        }
        init_logging("info").unwrap();
        assert!(matches!(init_logging("info"), Err(LoggingError::AlreadySet(_))));
        tracing::error!(pool = "web", "no backend is up");
        log::warn!(target: "lb_ebpf", "from the log crate");
        log::debug!(target: "lb_ebpf", "detail from the log crate");
        tracing::trace!("in no filter");
    }

    /// What `child_writes_a_log` writes to stderr, with `filter` as [`LOG_VARIABLE`].
    fn lines_of(filter: Option<&str>, in_journal: bool) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stderr = File::options().append(true).open(file.path()).unwrap();
        let meta = stderr.metadata().unwrap();
        let inode = if in_journal { meta.st_ino() } else { meta.st_ino() + 1 };
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "telemetry::logging::tests::child_writes_a_log", "--nocapture"]);
        child.env(CHILD, "1").env("JOURNAL_STREAM", format!("{}:{inode}", meta.st_dev()));
        match filter {
            Some(filter) => child.env(LOG_VARIABLE, filter),
            None => child.env_remove(LOG_VARIABLE),
        };
        let output = child.stderr(stderr).output().unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(output.status.success(), "{output:?}\n{text}");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn journal_lines_start_with_their_priority_and_carry_no_time() {
        let lines = lines_of(None, true);
        assert_eq!(
            lines,
            [
                "<3>lb_userspace::telemetry::logging::tests: no backend is up pool=\"web\"",
                "<4>lb_ebpf: from the log crate",
            ]
        );
    }

    #[test]
    fn other_lines_carry_time_and_level_and_no_colours_in_a_file() {
        let lines = lines_of(None, false);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("20") && lines[0].contains("Z ERROR "), "{lines:?}");
        assert!(lines[1].contains("Z  WARN ") && lines[1].contains("from the log crate"), "{lines:?}");
        assert!(!lines.concat().contains('\u{1b}'), "{lines:?}");
    }

    #[test]
    fn the_variable_filters_both_crates() {
        let lines = lines_of(Some("error,lb_ebpf=debug"), true);
        let expected = ["<3>lb_userspace", "<4>lb_ebpf: from", "<7>lb_ebpf: detail from the log crate"];
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        assert!(lines.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{lines:?}");
    }

    #[test]
    fn the_variable_goes_before_the_default_and_empty_is_unset() {
        let unset = Err(env::VarError::NotPresent);
        assert_eq!(filter(unset, "warn").unwrap().to_string(), "warn");
        assert_eq!(filter(Ok(" ".to_owned()), "warn").unwrap().to_string(), "warn");
        assert_eq!(filter(Ok("debug".to_owned()), "warn").unwrap().to_string(), "debug");
    }

    #[test]
    fn a_bad_filter_is_an_error_that_names_its_origin() {
        let error = filter(Ok("lb=loud".to_owned()), "info").unwrap_err();
        assert!(error.to_string().starts_with("LB_LOG: the log filter \"lb=loud\""), "{error}");
        let error = filter(Err(env::VarError::NotPresent), "lb=loud").unwrap_err();
        assert!(error.to_string().starts_with("default log level:"), "{error}");
    }
}
