//! What became of one request.
//!
//! Role: plain data, and the reading of one answer. Imports `lane` and the lab library's `http`.
//! Always holds: an answer counts only with status 200 and the name of a web server of the lab.

use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::{Error, Result};
use lb_tests::http::Response;

use super::lane::web_by_name;

/// The only good status.
const STATUS_OK: u16 = 200;

/// One request. Times count from the start of the run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Place of its lane in `Lane::ALL`.
    pub lane: usize,
    /// Before the connection was opened.
    pub started: Duration,
    /// After the answer or the failure.
    pub ended: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by the web server with this place.
    Answered(usize),
    /// Not answered, or not as it should be.
    Failed(Failure),
}

/// A request without a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether it failed as requests to a host do whose server was killed: refused, reset or closed. A request without any
    /// answer did not: the host still lives.
    pub server_gone: bool,
    /// What happened.
    pub text: String,
}

impl Outcome {
    /// Reads what a request brought.
    pub fn of(result: Result<Response>) -> Self {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                let failure = Failure { server_gone: is_server_gone(&error), text: format!("{error:#}") };
                return Self::Failed(failure);
            }
        };
        let name = response.backend.as_deref().unwrap_or("nobody");
        match web_by_name(name) {
            Some(web) if response.status == STATUS_OK => Self::Answered(web),
            _ => {
                let text = format!("status {} from {name}", response.status);
                Self::Failed(Failure { server_gone: false, text })
            }
        }
    }
}

fn is_server_gone(error: &Error) -> bool {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    matches!(
        kind,
        Some(
            ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        )
    )
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn answer(status: u16, backend: Option<&str>) -> Outcome {
        Outcome::of(Ok(Response {
            status,
            backend: backend.map(str::to_owned),
            body: Vec::new(),
            local: "192.0.2.1:1".parse().unwrap(),
            elapsed: Duration::ZERO,
        }))
    }

    fn server_gone(kind: ErrorKind) -> bool {
        let error = Err(io::Error::from(kind)).context("connecting").context("GET http://192.0.2.1/");
        match Outcome::of(error) {
            Outcome::Failed(failure) => failure.server_gone,
            Outcome::Answered(web) => panic!("answered by {web}"),
        }
    }

    #[test]
    fn only_status_200_of_a_server_of_the_lab_is_an_answer() {
        assert_eq!(answer(200, Some("web2")), Outcome::Answered(1));
        for (status, backend) in [(503, Some("web2")), (200, Some("web9")), (200, None)] {
            let outcome = answer(status, backend);
            assert!(matches!(outcome, Outcome::Failed(Failure { server_gone: false, .. })), "{outcome:?}");
        }
    }

    #[test]
    fn a_dead_server_refuses_resets_or_closes_and_is_never_silent() {
        for kind in [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof] {
            assert!(server_gone(kind), "{kind}");
        }
        for kind in [ErrorKind::TimedOut, ErrorKind::WouldBlock, ErrorKind::HostUnreachable] {
            assert!(!server_gone(kind), "{kind}");
        }
    }
}
