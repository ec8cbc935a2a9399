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
        return name_h2_error(question, stage, h2_error);
    }
    // With a source it is that the connection went away under the request.
    if error.is_user() && source.is_none() {
        return ProbeError::Request { address, detail: error.to_string() };
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || error.is_user() {
        return ProbeError::Closed { address, how: Close::InOrder };
    }
    ProbeError::Io { address, stage, detail: error.to_string() }
}

/// Whether an error says by itself what happened, rather than that something did.
pub(super) fn has_reason(error: &hyper::Error) -> bool {
    error.source().is_some_and(|source| source.is::<io::Error>() || source.is::<h2::Error>())
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

fn name_h2_error(question: &Question, stage: Stage, error: &h2::Error) -> ProbeError {
    let reason = error.reason().map_or_else(|| error.to_string(), |reason| format!("{reason:?}"));
    if error.is_remote() && error.is_go_away() {
        return question.says(format!("the HTTP/2 connection is over: {reason}"));
    }
    if error.is_remote() {
        return question.says(format!("the HTTP/2 request is over: {reason}"));
    }
    if error.is_library() && error.is_reset() {
        // The library has one error for both (RFC 9113, 8.1.1 and 10.5.1).
        return question.malformed(format!(
            "an HTTP/2 answer that breaks the rules, or has a head of more than {MAX_HEAD_BYTES} bytes: {reason}"
        ));
    }
    if error.is_library() {
        return question.malformed(format!("it is not HTTP/2: {reason}"));
    }
    ProbeError::Io { address: question.address, stage, detail: error.to_string() }
}

fn too_large(question: &Question) -> ProbeError {
    ProbeError::TooLarge {
        address: question.address,
        limit_bytes: MAX_HEAD_BYTES,
        limit_headers: MAX_HEADERS,
    }
}
