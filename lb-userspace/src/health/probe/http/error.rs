//! Names for the errors of HTTP connections.

use std::error::Error as _;
use std::io;

use super::super::error::Close;
use super::super::{ProbeError, Question, Stage, tls};
use super::{MAX_HEAD_BYTES, MAX_HEADERS};

/// Names an error of a connection; `stage` is what was waited for.
pub(super) fn name_error(question: &Question, stage: Stage, error: &hyper::Error) -> ProbeError {
    let address = question.address;
    if error.is_parse_too_large() {
        return too_large(question);
    }
    if error.is_parse() {
        return question.malformed(error.to_string());
    }
    let source = error.source();
    if let Some(io_error) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return name_io_error(question, stage, io_error);
    }
    if let Some(h2_error) = source.and_then(|source| source.downcast_ref::<h2::Error>()) {
        return name_h2_error(question, h2_error);
    }
    if error.is_user() {
        return ProbeError::Request { address, detail: error.to_string() };
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return ProbeError::Closed { address, how: Close::InOrder };
    }
    ProbeError::Io { address, stage, detail: error.to_string() }
}

fn name_io_error(question: &Question, stage: Stage, error: &io::Error) -> ProbeError {
    // Of TLS first: its errors are of this kind, too.
    match tls::name_io_error(question, stage, error) {
        ProbeError::Io { .. }
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) =>
        {
            question.malformed(error.to_string())
        }
        named => named,
    }
}

fn name_h2_error(question: &Question, error: &h2::Error) -> ProbeError {
    let reason = error.reason().map_or_else(|| error.to_string(), |reason| format!("{reason:?}"));
    if error.is_remote() && error.is_go_away() {
        return question.says(format!("the HTTP/2 connection is over: {reason}"));
    }
    if error.is_remote() {
        return question.says(format!("the HTTP/2 request is over: {reason}"));
    }
    match (error.is_library(), error.reason()) {
        // What the library says of a head that is larger than it may be (RFC 9113, 10.5.1).
        (true, Some(h2::Reason::REFUSED_STREAM)) => too_large(question),
        (true, _) => question.malformed(format!("it is not HTTP/2: {reason}")),
        (false, _) => ProbeError::Request { address: question.address, detail: error.to_string() },
    }
}

fn too_large(question: &Question) -> ProbeError {
    ProbeError::TooLarge {
        address: question.address,
        limit_bytes: MAX_HEAD_BYTES,
        limit_headers: MAX_HEADERS,
    }
}
