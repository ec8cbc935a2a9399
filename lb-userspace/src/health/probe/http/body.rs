//! The body of an answer.

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Bytes, Incoming};

use super::super::{ProbeError, Question, Stage};
use super::error::name_error;
use crate::model::BodyPattern;

/// Bytes of a body that are looked at; after them the connection is closed in the middle of it.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Reads a body that the check does not look at, up to [`MAX_BODY_BYTES`] and the deadline, only to let the server finish an
/// ordinary page without an error in its log.
pub(super) async fn drain(question: &Question, body: Incoming) {
    let read = read_up_to(question, MAX_BODY_BYTES, body);
    let _ended_or_late = tokio::time::timeout_at(question.end(), read).await;
}

/// Looks for `pattern` in the body, once it is whole or [`MAX_BODY_BYTES`] of it are in: what comes in pieces would else
/// match or not depending on where it was cut.
pub(super) async fn matches(
    question: &Question,
    pattern: &BodyPattern,
    body: Incoming,
) -> Result<(), ProbeError> {
    let (mut read, _trailers) = read_up_to(question, MAX_BODY_BYTES, body).await?;
    // The last piece may have been more than was wanted.
    read.truncate(MAX_BODY_BYTES);
    if pattern.0.is_match(&read) {
        return Ok(());
    }
    let pattern = pattern.0.as_str().to_owned();
    Err(ProbeError::Body { address: question.address, pattern, read_bytes: read.len() })
}

/// Reads a body to its end, or until there are `limit_bytes` or a piece more; and its trailers.
pub(in super::super) async fn read_up_to(
    question: &Question,
    limit_bytes: usize,
    mut body: Incoming,
) -> Result<(Vec<u8>, Option<HeaderMap>), ProbeError> {
    let mut read = Vec::new();
    let mut trailers = None;
    while read.len() < limit_bytes {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| name_error(question, Stage::Body, &error))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref));
        trailers = frame.into_trailers().ok().or(trailers);
    }
    Ok((read, trailers))
}
