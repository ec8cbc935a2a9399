//! What an answer of the health service means.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::response::Parts;

use super::super::{ProbeError, Question};
use super::MAX_ANSWER_BYTES;
use super::message::{self, ServingStatus};
use super::status::CallStatus;
use crate::model::GrpcCheck;

/// Judges what came before the body: whether it is gRPC at all, and whether the call failed at once.
pub(super) fn judge_head(question: &Question, check: &GrpcCheck, head: &Parts) -> Result<(), ProbeError> {
    judge_call(question, check, CallStatus::of(&head.headers).as_ref())?;
    if head.status != 200 {
        return Err(question.says(format!("HTTP status {} instead of a gRPC answer", head.status.as_u16())));
    }
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/grpc") {
        let content_type = String::from_utf8_lossy(content_type);
        return Err(question.malformed(format!("its content type is {content_type:?}, not application/grpc")));
    }
    Ok(())
}

/// Judges a whole answer.
pub(super) fn judge(
    question: &Question,
    check: &GrpcCheck,
    headers: &HeaderMap,
    body: &[u8],
    trailers: Option<&HeaderMap>,
) -> Result<(), ProbeError> {
    if body.len() >= MAX_ANSWER_BYTES {
        return Err(question.malformed(format!("it has {MAX_ANSWER_BYTES} bytes or more")));
    }
    // A call that fails at once has its status in the head, and no trailers.
    let Some(status) = trailers.and_then(CallStatus::of).or_else(|| CallStatus::of(headers)) else {
        return Err(question.malformed("it ends without a grpc-status"));
    };
    judge_call(question, check, Some(&status))?;
    match message::status(body).map_err(|why| question.malformed(why))? {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(ServingStatus::NotServing) => Err(question.says("NOT_SERVING")),
        Ok(ServingStatus::Unknown) => Err(question.says("UNKNOWN (its health is not set yet)")),
        Ok(ServingStatus::ServiceUnknown) => Err(question.says("SERVICE_UNKNOWN")),
        Err(number) => Err(question.says(format!("serving status {number}, which is not known"))),
    }
}

fn judge_call(question: &Question, check: &GrpcCheck, status: Option<&CallStatus>) -> Result<(), ProbeError> {
    match status {
        Some(status) if !status.is_ok() => Err(question.says(status.explain(&check.service))),
        _ => Ok(()),
    }
}
