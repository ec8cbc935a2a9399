//! The gRPC check: the health service answers `SERVING` (grpc.health.v1, `Check`), over HTTP/2, with TLS or without.
//!
//! Always holds: one call a connection; no more than [`MAX_ANSWER_BYTES`] of answer and a piece are read.

mod answer;
mod message;
mod status;

use std::net::Ipv6Addr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::{Request, Response};

use super::{ProbeError, Question, Stage, http, tls};
use crate::health::finding::{Answer, Findings};
use crate::model::GrpcCheck;

/// Most bytes of an answer. A whole one has seven.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Good once the service has said that it serves and the call has ended in order; the latency is that of its end.
pub(super) async fn probe(
    question: &Question,
    check: &GrpcCheck,
    tls: &mut tls::Connector,
) -> Result<Answer, ProbeError> {
    let opened = tls.open(question, check.tls.as_ref(), None, tls::Protocol::Http2).await?;
    let request = request(question, check)?;
    let read = |response| question.bound(Stage::Answer, read(question, check, response));
    http::exchange(question, tls::Protocol::Http2, opened.wire, request, read).await?;
    let findings = Findings { certificate_expires: opened.certificate_expires, ..Findings::default() };
    Ok(Answer { latency: question.elapsed(), findings })
}

fn request(question: &Question, check: &GrpcCheck) -> Result<Request<Full<Bytes>>, ProbeError> {
    let own_name = check
        .tls
        .as_ref()
        .and_then(|tls| tls.server_name.as_deref())
        .map(|name| if name.parse::<Ipv6Addr>().is_ok() { format!("[{name}]") } else { name.to_owned() });
    let authority = own_name.unwrap_or_else(|| http::authority_of(question.address, check.tls.is_some()));
    let scheme = if check.tls.is_some() { "https" } else { "http" };
    Request::post(format!("{scheme}://{authority}{PATH}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, http::AGENT)
        .header("grpc-timeout", timeout_text(question.timeout.saturating_sub(question.elapsed())))
        .body(Full::new(message::request(&check.service)))
        .map_err(|error| ProbeError::Request { address: question.address, detail: error.to_string() })
}

/// A time as the protocol has it: up to eight digits and a unit. An hour, the longest timeout, is 3,600,000 ms.
fn timeout_text(left: Duration) -> String {
    format!("{}m", left.as_millis().clamp(1, 99_999_999))
}

async fn read(
    question: &Question,
    check: &GrpcCheck,
    response: Response<Incoming>,
) -> Result<(), ProbeError> {
    let (head, body) = response.into_parts();
    answer::judge_head(question, check, &head)?;
    let (body, trailers) = http::read_up_to(question, MAX_ANSWER_BYTES, body).await?;
    answer::judge(question, check, &head.headers, &body, trailers.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_eight_digits_at_most_and_are_never_zero() {
        for (left, text) in [
            (Duration::ZERO, "1m"),
            (Duration::from_micros(1_999), "1m"),
            (Duration::from_hours(1), "3600000m"),
            (Duration::MAX, "99999999m"),
        ] {
            assert_eq!(timeout_text(left), text);
        }
    }
}
