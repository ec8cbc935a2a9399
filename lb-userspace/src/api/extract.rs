//! Reading requests, with every failure as an [`ApiError`].
//!
//! Role: axum extractors for the path, the query and the body. Imports this room only.
//! Always holds: a body is bounded in size (by the router's limit) and in the time it may take to arrive.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::error::{ApiError, ErrorCode};
use super::routes::Shared;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self)).into_response()
    }
}

/// The variable parts of the path, percent-decoded.
pub(super) struct InPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(value) = Path::from_request_parts(parts, state).await.map_err(|rejection| {
            ApiError::new(
                ErrorCode::InvalidRequest,
                format!("cannot read the path: {}", rejection.body_text()),
            )
        })?;
        Ok(Self(value))
    }
}

/// The query.
pub(super) struct InQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(value) = Query::from_request_parts(parts, state).await.map_err(|rejection| {
            ApiError::new(
                ErrorCode::InvalidRequest,
                format!("cannot read the query: {}", rejection.body_text()),
            )
        })?;
        Ok(Self(value))
    }
}

/// The body, as JSON whatever its content type says: only trusted users reach the socket, no browser does.
pub(super) struct InBody<T>(pub T);

impl<C: Send + Sync + 'static, T: DeserializeOwned> FromRequest<Arc<Shared<C>>> for InBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<Shared<C>>) -> Result<Self, ApiError> {
        let time = state.limits.body_time;
        let bytes = tokio::time::timeout(time, Bytes::from_request(request, state))
            .await
            .map_err(|_| late_body(time))?
            .map_err(|rejection| refused_body(&rejection, state.limits.body_bytes))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            ApiError::new(ErrorCode::InvalidRequest, format!("cannot read the body: {error}"))
                .with_hint("the body is one JSON object; docs/lbctl.md lists its fields")
        })
    }
}

fn late_body(time: Duration) -> ApiError {
    ApiError::new(
        ErrorCode::RequestTimeout,
        format!("the body did not arrive within {}", humantime::format_duration(time)),
    )
}

fn refused_body(rejection: &BytesRejection, limit_bytes: usize) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::new(ErrorCode::TooLarge, format!("the body is larger than {limit_bytes} bytes"));
    }
    ApiError::new(ErrorCode::InvalidRequest, format!("cannot read the body: {}", rejection.body_text()))
}
