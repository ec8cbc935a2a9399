//! The HTTP check: one request is answered with an accepted status and, if the check wants it, body (RFC 9110); over
//! HTTP/1.1 or HTTP/2, with TLS or without.
//!
//! Always holds: one request a connection; no more than [`MAX_HEAD_BYTES`] of head and about [`body::MAX_BODY_BYTES`] of
//! body are read.

mod body;
mod error;
mod exchange;
mod request;
mod tasks;

use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;

use crate::health::finding::{Answer, Findings};
use crate::model::{HttpCheck, HttpVersion, StatusSet};

use super::{ProbeError, Question, Stage, tls};

pub(super) use body::read_up_to;
pub(super) use exchange::exchange;
pub(super) use request::{AGENT, authority_of};

/// Most bytes of the status line and headers of an answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most headers of an answer; with HTTP/2 the bytes alone are limited, of which each header counts 32 more.
const MAX_HEADERS: usize = 100;

/// Good once the head of an answer with an accepted status is in, and its body, if the check looks at it; the latency is that
/// of the last thing that is looked at.
pub(super) async fn probe(
    question: &Question,
    check: &HttpCheck,
    tls: &mut tls::Connector,
) -> Result<Answer, ProbeError> {
    let request = request::of(question.address, check)?;
    let protocol = match check.version {
        HttpVersion::Http1 => tls::Protocol::Http1,
        HttpVersion::Http2 => tls::Protocol::Http2,
    };
    let opened = tls.open(question, check.tls.as_ref(), check.host.as_deref(), protocol).await?;
    let read = |response| read(question, check, response);
    let latency = exchange(question, protocol, opened.wire, request, read).await?;
    let findings = Findings { certificate_expires: opened.certificate_expires, ..Findings::default() };
    Ok(Answer { latency, findings })
}

/// Judges an answer; gives the latency.
async fn read(
    question: &Question,
    check: &HttpCheck,
    response: Response<Incoming>,
) -> Result<Duration, ProbeError> {
    let head_latency = question.elapsed();
    judge(question, &check.expect_status, response.status().as_u16())?;
    let Some(pattern) = &check.expect_body else {
        body::drain(question, response.into_body()).await;
        return Ok(head_latency);
    };
    question.bound(Stage::Body, body::matches(question, pattern, response.into_body())).await?;
    Ok(question.elapsed())
}

fn judge(question: &Question, accepted: &StatusSet, status: u16) -> Result<(), ProbeError> {
    if accepted.contains(status) {
        return Ok(());
    }
    Err(ProbeError::Status { address: question.address, status, accepted: status_text(accepted) })
}

fn status_text(set: &StatusSet) -> String {
    let ranges: Vec<String> = set
        .0
        .iter()
        .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") })
        .collect();
    ranges.join(", ")
}
