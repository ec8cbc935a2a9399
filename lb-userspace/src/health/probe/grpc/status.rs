//! How a gRPC call ended (`grpc-status` and `grpc-message`).

use hyper::HeaderMap;
use percent_encoding::percent_decode;

/// Names of the status codes, by number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;

/// Most characters of a message that are told.
const MAX_MESSAGE_CHARS: usize = 200;

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallStatus {
    code: u32,
    /// The server's words; may be empty.
    message: String,
}

impl CallStatus {
    /// That of trailers, or of a head that is all there is; none if it has none that can be read.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = headers.get("grpc-message").map(|text| plain(text.as_bytes())).unwrap_or_default();
        Some(Self { code, message })
    }

    pub(super) const fn is_ok(&self) -> bool {
        self.code == 0
    }

    /// It in words; `service` is what was asked for.
    pub(super) fn explain(&self, service: &str) -> String {
        let index = usize::try_from(self.code).unwrap_or(usize::MAX);
        let name = NAMES.get(index).map_or_else(|| format!("gRPC status {}", self.code), ToString::to_string);
        let meaning = match self.code {
            UNIMPLEMENTED => {
                " (the server has no health service: register grpc.health.v1.Health there)".to_owned()
            }
            NOT_FOUND => format!(" (its health service does not know the service {service:?})"),
            _ => String::new(),
        };
        if self.message.is_empty() {
            return format!("{name}{meaning}");
        }
        format!("{name}: {}{meaning}", self.message)
    }
}

/// A message as text that fits into a line: percent-decoded, cut, without control characters.
fn plain(encoded: &[u8]) -> String {
    let text = percent_decode(encoded).decode_utf8_lossy();
    let visible = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(MAX_MESSAGE_CHARS).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: &str, message: &str) -> Option<CallStatus> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", code.parse().unwrap());
        headers.insert("grpc-message", message.parse().unwrap());
        CallStatus::of(&headers)
    }

    #[test]
    fn codes_have_names_and_some_a_meaning() {
        for (code, message, wanted) in [
            ("14", "no%20upstream%0Aleft", "UNAVAILABLE: no upstream left"),
            ("99", "", "gRPC status 99"),
            ("5", "", "NOT_FOUND (its health service does not know the service \"s\")"),
            (
                "12",
                "",
                "UNIMPLEMENTED (the server has no health service: register grpc.health.v1.Health there)",
            ),
        ] {
            assert_eq!(status(code, message).unwrap().explain("s"), wanted);
        }
        assert!(status("0", "").unwrap().is_ok());
        assert_eq!(status("OK", ""), None);
        assert_eq!(status("14", &"x".repeat(300)).unwrap().message.len(), MAX_MESSAGE_CHARS);
    }
}
