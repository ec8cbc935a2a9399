//! The one shape of every refusal.
//!
//! Role: what the server answers when it does not do what was asked, and what `lbctl -o json` prints on stderr.
//! Imports nothing of ours.
//! Always holds: a code keeps its name and its meaning, because scripts match on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request was refused. When a request is refused, nothing was changed, unless `code` is
/// [`ErrorCode::Timeout`] or [`ErrorCode::Internal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// The kind of refusal.
    pub code: ErrorCode,
    /// What is wrong and where, without a final full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default)]
    pub hint: Option<String>,
    /// Places in the configuration file, for [`ErrorCode::InvalidConfig`].
    #[serde(default)]
    pub details: Vec<ErrorDetail>,
}

/// One thing that is wrong in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default)]
    pub hint: Option<String>,
}

/// The kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request cannot be understood.
    InvalidRequest,
    /// No such route, pool or backend.
    NotFound,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// It exists already, or the file was changed by somebody else meanwhile.
    Conflict,
    /// It would leave a pool without a backend that takes new flows; it is done if the request says `force`.
    NeedsForce,
    /// The body is larger than the server takes.
    TooLarge,
    /// The configuration, as it is or as it would become, is not valid.
    InvalidConfig,
    /// A table of the datapath is full.
    LimitReached,
    /// The agent could not do it.
    Internal,
    /// Too much is being asked at once, or the agent is stopping.
    Unavailable,
    /// The agent did not finish in time; an edit may still be carried out.
    Timeout,
    /// `lbctl` could not reach the agent. Never sent by the server.
    AgentUnreachable,
    /// `lbctl` was called wrongly. Never sent by the server.
    Usage,
    /// `lbctl` waited for as long as it was told to. Never sent by the server.
    Deadline,
    /// A code of a newer version.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The HTTP status that goes with the code (RFC 9110, section 15).
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Conflict | Self::NeedsForce => 409,
            Self::TooLarge => 413,
            Self::InvalidConfig => 422,
            Self::Internal | Self::AgentUnreachable | Self::Usage | Self::Deadline | Self::Unknown => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::LimitReached => 507,
        }
    }
}

impl ApiError {
    /// An error with a message only.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: Vec::new() }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the places in the file.
    #[must_use]
    pub fn with_details(mut self, details: Vec<ErrorDetail>) -> Self {
        self.details = details;
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_json() {
        let error = ApiError::new(ErrorCode::InvalidConfig, "2 errors in /etc/lb/lb.toml")
            .with_hint("correct the file")
            .with_details(vec![ErrorDetail {
                line: 3,
                column: 9,
                message: "unknown pool \"wbe\"".into(),
                hint: None,
            }]);
        let text = serde_json::to_string(&error).unwrap();
        assert!(text.contains("\"code\":\"invalid_config\""), "{text}");
        assert_eq!(serde_json::from_str::<ApiError>(&text).unwrap(), error);
    }

    #[test]
    fn a_code_of_a_newer_version_is_read_as_unknown() {
        let error: ApiError = serde_json::from_str(r#"{"code":"peer_disagrees","message":"no"}"#).unwrap();
        assert_eq!(error, ApiError::new(ErrorCode::Unknown, "no"));
    }
}
