//! The routes and what each calls.
//!
//! Role: one handler a route, from a request to a call of [`Control`] to an answer. Imports this room only.
//! Always holds: no call runs in the connection's task, so neither a panic nor a client that goes away can break
//! one off half way; the calls at work are bounded.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Uri};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::control::{Control, Seen};
use super::edit::{AddBackend, BackendId, EditResult, SetState, SetWeight};
use super::error::{ApiError, ErrorCode};
use super::extract::{InBody, InPath, InQuery};
use super::server::ServerLimits;
use super::types::{BackendDetail, BackendInfo, Event, ServiceInfo, Status};
use super::{MAX_EVENT_WAIT_MS, MAX_EVENTS};

/// Events that a request gets when it does not say how many.
const DEFAULT_EVENTS: u32 = 100;

/// What every handler shares.
pub(super) struct Shared<C> {
    control: Arc<C>,
    reads: Arc<Semaphore>,
    edits: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    stopping: watch::Receiver<()>,
    pub(super) limits: ServerLimits,
}

type Agent<C> = State<Arc<Shared<C>>>;
type Answer<T> = Result<Json<T>, ApiError>;

/// The whole API over `control`. Once the sender of `stopping` is gone, nobody waits for events any more.
pub(super) fn router<C: Control>(
    control: Arc<C>,
    limits: ServerLimits,
    stopping: watch::Receiver<()>,
) -> Router {
    let shared = Shared {
        control,
        reads: Arc::new(Semaphore::new(limits.connections)),
        edits: Arc::new(Semaphore::new(limits.edits)),
        waits: Arc::new(Semaphore::new(limits.waits)),
        stopping,
        limits,
    };
    let backend = "/v1/pools/{pool}/backends/{name}";
    Router::new()
        .route("/v1/status", get(status::<C>))
        .route("/v1/services", get(services::<C>))
        .route("/v1/backends", get(backends::<C>))
        // The name of a standby has a slash in it.
        .route("/v1/backends/{pool}/{*name}", get(one_backend::<C>))
        .route("/v1/events", get(events::<C>))
        .route("/v1/reload", post(reload::<C>))
        .route("/v1/pools/{pool}/backends", post(add_backend::<C>))
        .route(backend, delete(remove_backend::<C>))
        .route(&format!("{backend}/weight"), put(set_weight::<C>))
        .route(&format!("{backend}/state"), put(set_state::<C>))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(shared.limits.body_bytes))
        .with_state(Arc::new(shared))
}

async fn status<C: Control>(State(shared): Agent<C>) -> Answer<Status> {
    let control = Arc::clone(&shared.control);
    shared.read(async move { control.status().await }).await
}

async fn services<C: Control>(State(shared): Agent<C>) -> Answer<Vec<ServiceInfo>> {
    let control = Arc::clone(&shared.control);
    shared.read(async move { control.services().await }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendsQuery {
    pool: Option<String>,
}

async fn backends<C: Control>(
    State(shared): Agent<C>,
    InQuery(query): InQuery<BackendsQuery>,
) -> Answer<Vec<BackendInfo>> {
    let control = Arc::clone(&shared.control);
    shared.read(async move { control.backends(query.pool).await }).await
}

async fn one_backend<C: Control>(
    State(shared): Agent<C>,
    InPath((pool, name)): InPath<(String, String)>,
) -> Answer<BackendDetail> {
    let control = Arc::clone(&shared.control);
    shared.read(async move { control.backend(BackendId { pool, name }).await }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    limit: Option<u32>,
    /// Number of the last event that the client has seen.
    after: Option<u64>,
    /// When that was.
    after_unix_ms: Option<u64>,
    /// How long to wait for one.
    wait_ms: Option<u32>,
}

async fn events<C: Control>(
    State(shared): Agent<C>,
    InQuery(query): InQuery<EventsQuery>,
) -> Answer<Vec<Event>> {
    let limit = query.limit.unwrap_or(if query.after.is_some() { MAX_EVENTS } else { DEFAULT_EVENTS });
    let refuse = |message: String| Err(ApiError::new(ErrorCode::InvalidRequest, message));
    if !(1..=MAX_EVENTS).contains(&limit) {
        return refuse(format!("limit is {limit}; it must be 1 to {MAX_EVENTS}"));
    }
    let wait_ms = query.wait_ms.unwrap_or(0);
    if wait_ms > MAX_EVENT_WAIT_MS {
        return refuse(format!("wait_ms is {wait_ms}; it must be 0 to {MAX_EVENT_WAIT_MS}"));
    }
    match query.after {
        Some(number) => {
            let seen = Seen { number, unix_time_ms: query.after_unix_ms };
            shared.wait(seen, limit, Duration::from_millis(wait_ms.into())).await
        }
        None if query.after_unix_ms.is_some() || query.wait_ms.is_some() => {
            refuse("after_unix_ms and wait_ms have no meaning without after".to_owned())
        }
        None => {
            let control = Arc::clone(&shared.control);
            shared.read(async move { control.events(limit).await }).await
        }
    }
}

async fn reload<C: Control>(State(shared): Agent<C>) -> Answer<EditResult> {
    let control = Arc::clone(&shared.control);
    shared.edit(async move { control.reload().await }).await
}

async fn add_backend<C: Control>(
    State(shared): Agent<C>,
    InPath(pool): InPath<String>,
    InBody(request): InBody<AddBackend>,
) -> Answer<EditResult> {
    let control = Arc::clone(&shared.control);
    shared.edit(async move { control.add_backend(pool, request).await }).await
}

async fn remove_backend<C: Control>(
    State(shared): Agent<C>,
    InPath((pool, name)): InPath<(String, String)>,
) -> Answer<EditResult> {
    let control = Arc::clone(&shared.control);
    shared.edit(async move { control.remove_backend(BackendId { pool, name }).await }).await
}

async fn set_weight<C: Control>(
    State(shared): Agent<C>,
    InPath((pool, name)): InPath<(String, String)>,
    InBody(request): InBody<SetWeight>,
) -> Answer<EditResult> {
    let control = Arc::clone(&shared.control);
    let backend = BackendId { pool, name };
    shared.edit(async move { control.set_weight(backend, request.weight).await }).await
}

async fn set_state<C: Control>(
    State(shared): Agent<C>,
    InPath((pool, name)): InPath<(String, String)>,
    InBody(request): InBody<SetState>,
) -> Answer<EditResult> {
    let control = Arc::clone(&shared.control);
    let backend = BackendId { pool, name };
    shared.edit(async move { control.set_state(backend, request).await }).await
}

async fn no_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no {method} {} in this API", uri.path()))
        .with_hint("lbctl and lbd may be of different versions; docs/lbctl.md lists the routes")
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}

impl<C: Control> Shared<C> {
    /// Events after `seen`; an empty list when there is none within `wait`, or within half of the time of a call, or when
    /// the server stops.
    async fn wait(&self, seen: Seen, limit: u32, wait: Duration) -> Answer<Vec<Event>> {
        let Ok(_waiting) = self.waits.try_acquire() else {
            return Err(ApiError::new(ErrorCode::Unavailable, "too many wait for events already")
                .with_hint("try again in a moment"));
        };
        let wait = wait.min(self.limits.call_time / 2);
        let (control, mut stopping) = (Arc::clone(&self.control), self.stopping.clone());
        self.read(async move {
            tokio::select! {
                biased;
                events = control.events_after(seen, limit) => events,
                () = tokio::time::sleep(wait) => Ok(Vec::new()),
                // Nothing is ever sent: this is the sender's end.
                _ = stopping.changed() => Ok(Vec::new()),
            }
        })
        .await
    }
}

impl<C> Shared<C> {
    /// Runs a call that changes nothing; it is dropped when it takes too long.
    async fn read<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Answer<T> {
        let task = start(&self.reads, call)?;
        let handle = task.abort_handle();
        self.finish(task).await.unwrap_or_else(|| {
            handle.abort();
            Err(ApiError::new(
                ErrorCode::Timeout,
                format!("lbd found no answer within {}", humantime::format_duration(self.limits.call_time)),
            ))
        })
    }

    /// Runs a call that changes something; it goes on to its end when it takes too long.
    async fn edit<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Answer<T> {
        let task = start(&self.edits, call)?;
        self.finish(task).await.unwrap_or_else(|| {
            let time = humantime::format_duration(self.limits.call_time);
            Err(ApiError::new(ErrorCode::Timeout, format!("the change was not complete after {time}"))
                .with_hint("it is still being carried out; see lbctl status and lbctl events"))
        })
    }

    /// The outcome of a call, or none when it is not there in time.
    async fn finish<T>(&self, task: JoinHandle<Result<T, ApiError>>) -> Option<Answer<T>> {
        let outcome = tokio::time::timeout(self.limits.call_time, task).await.ok()?;
        Some(outcome.map_or_else(
            |error| {
                tracing::error!(%error, "a call of the control API broke off");
                Err(ApiError::new(ErrorCode::Internal, "lbd broke off while it did this")
                    .with_hint("its log says why; lbctl status shows what is in force"))
            },
            |result| result.map(Json),
        ))
    }
}

/// Starts a call in a task of its own, if fewer than the limit are at work.
fn start<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    call: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<JoinHandle<Result<T, ApiError>>, ApiError> {
    let permit = Arc::clone(permits).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::Unavailable, "lbd is at work on too many requests")
            .with_hint("try again in a moment")
    })?;
    Ok(tokio::spawn(async move {
        let result = call.await;
        drop(permit);
        result
    }))
}
