//! The HTTP check: one HTTP/1.1 request is answered with an accepted status (RFC 9112).
//!
//! Always holds: one request a connection (`Connection: close`); no more than [`MAX_HEAD_BYTES`] of head and
//! about [`MAX_BODY_BYTES`] of body are read.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;

use crate::model::{HttpCheck, StatusSet};

use super::connect::connect;
use super::error::Close;
use super::{ProbeError, Question, Stage, tls};
use crate::health::finding::Answer;

/// Most bytes of the status line and headers of an answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most headers of an answer.
const MAX_HEADERS: usize = 100;

/// Bytes of a body after which the connection is closed in the middle of it.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the requests call themselves, so that a server's log can be told apart or silenced.
const AGENT: &str = "lbd-check";

/// Good once the head of an answer with an accepted status is in; the latency is that of the head.
///
/// The body says nothing. It is read, up to [`MAX_BODY_BYTES`] and the deadline, only to let the server finish
/// an ordinary page without an error in its log.
pub(super) async fn probe(
    question: &Question,
    check: &HttpCheck,
    _tls: &mut tls::Connector,
) -> Result<Answer, ProbeError> {
    let address = question.address;
    let request = request(address, check)?;
    let stream = connect(question).await?;
    let name = |error: hyper::Error| name_error(address, question.timeout, &error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(name)?;

    let exchange = async {
        let answer = sender.send_request(request);
        let response = question.bound(Stage::Answer, async { answer.await.map_err(name) }).await?;
        let latency = question.elapsed();
        judge(address, &check.expect_status, response.status().as_u16())?;
        let _ended_or_late = tokio::time::timeout_at(question.end(), drain(response.into_body())).await;
        Ok(latency.into())
    };
    drive(exchange, connection).await
}

fn request(address: SocketAddr, check: &HttpCheck) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let host = check.host.clone().unwrap_or_else(|| host_of(address));
    Request::builder()
        .method(check.method.as_str())
        .uri(check.path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| ProbeError::Request { address, detail: error.to_string() })
}

/// The address as a Host header: IPv6 in brackets, no port if it is the scheme's own (RFC 9110, 7.2).
fn host_of(address: SocketAddr) -> String {
    match (address, address.port()) {
        (SocketAddr::V4(v4), 80) => v4.ip().to_string(),
        (SocketAddr::V6(v6), 80) => format!("[{}]", v6.ip()),
        (SocketAddr::V4(v4), port) => format!("{}:{port}", v4.ip()),
        (SocketAddr::V6(v6), port) => format!("[{}]:{port}", v6.ip()),
    }
}

fn judge(address: SocketAddr, accepted: &StatusSet, status: u16) -> Result<(), ProbeError> {
    if accepted.contains(status) {
        return Ok(());
    }
    Err(ProbeError::Status { address, status, accepted: status_text(accepted) })
}

fn status_text(set: &StatusSet) -> String {
    let ranges: Vec<String> = set
        .0
        .iter()
        .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") })
        .collect();
    ranges.join(", ")
}

async fn drain(mut body: Incoming) {
    let mut read_bytes = 0;
    while read_bytes < MAX_BODY_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => read_bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}

/// Runs `exchange` to its end, and `connection`, which moves its bytes, beside it.
///
/// The connection may end first with the answer already handed over, so its end alone decides nothing.
async fn drive<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut connection_ended = false;
    loop {
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            _ = &mut connection, if !connection_ended => connection_ended = true,
        }
    }
}

fn name_error(address: SocketAddr, timeout: Duration, error: &hyper::Error) -> ProbeError {
    if error.is_parse_too_large() {
        return ProbeError::TooLarge { address, limit_bytes: MAX_HEAD_BYTES, limit_headers: MAX_HEADERS };
    }
    if error.is_parse() {
        return ProbeError::Malformed { address, detail: error.to_string() };
    }
    if let Some(io_error) = std::error::Error::source(error).and_then(|source| source.downcast_ref()) {
        return ProbeError::from_io(address, Stage::Answer, timeout, io_error);
    }
    if error.is_user() {
        return ProbeError::Request { address, detail: error.to_string() };
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return ProbeError::Closed { address, how: Close::InOrder };
    }
    ProbeError::Io { address, stage: Stage::Answer, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_is_the_address_as_a_url_has_it() {
        for (address, host) in [
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("[2001:db8::1]:8080", "[2001:db8::1]:8080"),
        ] {
            assert_eq!(host_of(address.parse().unwrap()), host);
        }
    }
}
