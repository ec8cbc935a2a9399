//! What the server asks of the agent.
//!
//! Role: the seam between HTTP and everything else; the agent implements it, tests implement it in memory.
//! Imports the types of this room only.
//! Always holds: the server calls each method in a task of its own. A read that takes too long is dropped; an edit
//! is never dropped half way, whatever becomes of the client. Edits may be called at the same time: the
//! implementation puts them in order.

use std::future::Future;

use super::edit::{AddBackend, BackendId, EditResult, SetState};
use super::error::ApiError;
use super::types::{BackendDetail, BackendInfo, Event, ServiceInfo, Status};

/// How far a reader of events has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Number of the last event that it has seen; 0 for none.
    pub number: u64,
    /// When that was, in milliseconds since 1970-01-01 UTC. The event of this number that happened at another time is one of
    /// another life of the agent, of which the reader has seen nothing.
    pub unix_time_ms: Option<u64>,
}

/// The agent, as the control API sees it.
pub trait Control: Send + Sync + 'static {
    /// The agent and its datapath at a glance.
    fn status(&self) -> impl Future<Output = Result<Status, ApiError>> + Send;

    /// Every service, in the order to show.
    fn services(&self) -> impl Future<Output = Result<Vec<ServiceInfo>, ApiError>> + Send;

    /// The backends of one pool, or of all. An unknown pool is [`super::error::ErrorCode::NotFound`].
    fn backends(
        &self,
        pool: Option<String>,
    ) -> impl Future<Output = Result<Vec<BackendInfo>, ApiError>> + Send;

    /// One backend in full; its name may be that of a standby, with a slash in it. An unknown one is
    /// [`super::error::ErrorCode::NotFound`].
    fn backend(&self, backend: BackendId) -> impl Future<Output = Result<BackendDetail, ApiError>> + Send;

    /// The last `limit` events (1 to [`super::MAX_EVENTS`]), the oldest first.
    fn events(&self, limit: u32) -> impl Future<Output = Result<Vec<Event>, ApiError>> + Send;

    /// The first `limit` events that came after `seen`, the oldest first; waits for one where there is none. The caller
    /// bounds the wait by dropping this.
    fn events_after(
        &self,
        seen: Seen,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Event>, ApiError>> + Send;

    /// Adds a backend to `pool`. A name or address that is taken is [`super::error::ErrorCode::Conflict`].
    fn add_backend(
        &self,
        pool: String,
        backend: AddBackend,
    ) -> impl Future<Output = Result<EditResult, ApiError>> + Send;

    /// Removes a backend.
    fn remove_backend(&self, backend: BackendId)
    -> impl Future<Output = Result<EditResult, ApiError>> + Send;

    /// Sets a backend's weight. Setting what is set already succeeds with `changed: false`.
    fn set_weight(
        &self,
        backend: BackendId,
        weight: u32,
    ) -> impl Future<Output = Result<EditResult, ApiError>> + Send;

    /// Sets what the operator wants of a backend. Setting what is set already succeeds with `changed: false`. Unless
    /// forced, taking away the pool's last backend that takes new flows is [`super::error::ErrorCode::NeedsForce`].
    fn set_state(
        &self,
        backend: BackendId,
        request: SetState,
    ) -> impl Future<Output = Result<EditResult, ApiError>> + Send;

    /// Reads the configuration file again and applies it.
    fn reload(&self) -> impl Future<Output = Result<EditResult, ApiError>> + Send;
}
