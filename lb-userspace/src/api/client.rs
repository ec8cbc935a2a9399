//! The client that `lbctl` uses.
//!
//! Role: one connection and one HTTP/1.1 request a call. Imports this room only.
//! Always holds: every call ends within its time limit; an answer is bounded in size; what can go wrong on the way
//! says what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::control::Seen;
use super::edit::{AddBackend, BackendId, EditResult, SetState, SetWeight};
use super::error::{ApiError, ErrorCode};
use super::types::{BackendDetail, BackendInfo, Event, ServiceInfo, Status};

/// Time that a call may take, from connecting to the last byte of the answer. More than the server's own limits, so
/// that its explanation arrives.
pub const CALL_TIME: Duration = Duration::from_secs(20);

/// Largest answer, in bytes: that of the most backends there can be, with room to spare.
pub const MAX_ANSWER_BYTES: usize = 1 << 30;

/// Advice when there is no agent.
const START_HINT: &str = "start it with: systemctl start lbd, or: lbd run --config /etc/lb/lb.toml";

/// A client of the control socket. Connects anew for each call.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    call_time: Duration,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("lbd is not running (no socket at {}); {START_HINT}", socket.display())]
    NoSocket {
        /// Where it was looked for.
        socket: PathBuf,
    },
    /// There is a socket that nobody listens on.
    #[error("lbd is not running (nobody answers at {}); {START_HINT}", socket.display())]
    NobodyAnswers {
        /// The socket.
        socket: PathBuf,
    },
    /// This user may not connect.
    #[error("permission denied at {}: lbctl needs {who}; {PERMISSION_HINT}", socket.display())]
    PermissionDenied {
        /// The socket.
        socket: PathBuf,
        /// Who may.
        who: String,
    },
    /// The agent did not answer in time.
    #[error("lbd did not answer within {} at {}; {TIMEOUT_HINT}",
        humantime::format_duration(*time), socket.display())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// The limit.
        time: Duration,
    },
    /// More clients wait than the agent lets.
    #[error("lbd is busy: too many connections wait at {}; {BUSY_HINT}", socket.display())]
    Busy {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection could not be made for another reason.
    #[error("cannot connect to {}: {source}; {SOCKET_HINT}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to lbd broke: {reason}; {BROKEN_HINT}")]
    Broken {
        /// How.
        reason: String,
    },
    /// The answer is not one of this API.
    #[error("cannot understand what was answered at {}: {reason}; {FOREIGN_HINT}", socket.display())]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The agent refused.
    #[error(transparent)]
    Refused(#[from] ApiError),
}

const PERMISSION_HINT: &str = "run it with sudo";
const TIMEOUT_HINT: &str = "see its log; an edit may still be carried out";
const BUSY_HINT: &str = "try again in a moment";
const SOCKET_HINT: &str = "see that --socket names the control socket of lbd";
const BROKEN_HINT: &str = "see the log of lbd, and lbctl status for what is in force";
const FOREIGN_HINT: &str = "see that lbctl and lbd are of the same version and that --socket is right";

impl ClientError {
    /// The error as the API would put it, for `-o json`.
    pub fn to_api_error(&self) -> ApiError {
        let hint = match self {
            Self::Refused(error) => return error.clone(),
            Self::NoSocket { .. } | Self::NobodyAnswers { .. } => START_HINT,
            Self::PermissionDenied { .. } => PERMISSION_HINT,
            Self::TimedOut { .. } => TIMEOUT_HINT,
            Self::Busy { .. } => BUSY_HINT,
            Self::Connect { .. } => SOCKET_HINT,
            Self::Broken { .. } => BROKEN_HINT,
            Self::Foreign { .. } => FOREIGN_HINT,
        };
        let text = self.to_string();
        let message = text.strip_suffix(hint).and_then(|text| text.strip_suffix("; ")).unwrap_or(&text);
        ApiError::new(ErrorCode::AgentUnreachable, message).with_hint(hint)
    }
}

impl Client {
    /// A client of the agent whose control socket is `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), call_time: CALL_TIME }
    }

    /// The same with another limit on the time of a call.
    #[must_use]
    pub fn with_call_time(mut self, call_time: Duration) -> Self {
        self.call_time = call_time;
        self
    }

    /// The agent and its datapath at a glance.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every call.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Every service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn services(&self) -> Result<Vec<ServiceInfo>, ClientError> {
        self.get("/v1/services").await
    }

    /// The backends of one pool, or of all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn backends(&self, pool: Option<&str>) -> Result<Vec<BackendInfo>, ClientError> {
        match pool {
            Some(pool) => self.get(&format!("/v1/backends?pool={}", encode(pool))).await,
            None => self.get("/v1/backends").await,
        }
    }

    /// The last `limit` events, the oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, limit: u32) -> Result<Vec<Event>, ClientError> {
        self.get(&format!("/v1/events?limit={limit}")).await
    }

    /// One backend in full; its name may be that of a standby.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn backend(&self, backend: &BackendId) -> Result<BackendDetail, ClientError> {
        self.get(&format!("/v1/backends/{}/{}", encode(&backend.pool), encode(&backend.name))).await
    }

    /// Events after `seen`, the oldest first; waits up to `wait` (at most [`super::MAX_EVENT_WAIT_MS`]) where there is none.
    /// The agent may give an empty list sooner.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events_after(&self, seen: Seen, wait: Duration) -> Result<Vec<Event>, ClientError> {
        let mut path = format!("/v1/events?after={}&wait_ms={}", seen.number, wait.as_millis());
        if let Some(unix_time_ms) = seen.unix_time_ms {
            path = format!("{path}&after_unix_ms={unix_time_ms}");
        }
        self.get(&path).await
    }

    /// Adds a backend to `pool`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add_backend(&self, pool: &str, backend: &AddBackend) -> Result<EditResult, ClientError> {
        self.send(Method::POST, &format!("/v1/pools/{}/backends", encode(pool)), backend).await
    }

    /// Removes a backend.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_backend(&self, backend: &BackendId) -> Result<EditResult, ClientError> {
        self.call(Method::DELETE, &backend_path(backend), Bytes::new()).await
    }

    /// Sets a backend's weight.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_weight(&self, backend: &BackendId, weight: u32) -> Result<EditResult, ClientError> {
        let path = format!("{}/weight", backend_path(backend));
        self.send(Method::PUT, &path, &SetWeight { weight }).await
    }

    /// Sets what the operator wants of a backend.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_state(&self, backend: &BackendId, request: SetState) -> Result<EditResult, ClientError> {
        let path = format!("{}/state", backend_path(backend));
        self.send(Method::PUT, &path, &request).await
    }

    /// Has the configuration file read again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reload(&self) -> Result<EditResult, ClientError> {
        self.call(Method::POST, "/v1/reload", Bytes::new()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.foreign(&error))?;
        self.call(method, path, body.into()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "lbd")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.foreign(&error))?;
        tokio::time::timeout(self.call_time, self.exchange(request))
            .await
            .map_err(|_| ClientError::TimedOut { socket: self.socket.clone(), time: self.call_time })?
    }

    async fn exchange<T: DeserializeOwned>(&self, request: Request<Full<Bytes>>) -> Result<T, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| connect_error(&self.socket, error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // Dropping the set ends the connection's task with this call.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, ClientError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let bytes = body.collect().await.map_err(|error| broken(error.as_ref()))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.foreign(&error));
        }
        match serde_json::from_slice::<ApiError>(&bytes) {
            Ok(error) => Err(ClientError::Refused(error)),
            Err(error) => Err(self.foreign(&format_args!("HTTP status {status}: {error}"))),
        }
    }

    fn foreign(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Foreign { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

fn backend_path(backend: &BackendId) -> String {
    format!("/v1/pools/{}/backends/{}", encode(&backend.pool), encode(&backend.name))
}

/// A path segment or query value that cannot be taken for more than itself.
fn encode(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

fn broken(error: &dyn std::error::Error) -> ClientError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    ClientError::Broken { reason }
}

fn connect_error(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_path_buf();
    match source.kind() {
        io::ErrorKind::NotFound => ClientError::NoSocket { socket },
        io::ErrorKind::ConnectionRefused => ClientError::NobodyAnswers { socket },
        io::ErrorKind::PermissionDenied => {
            ClientError::PermissionDenied { who: super::access::who_may_connect(&socket), socket }
        }
        io::ErrorKind::WouldBlock => ClientError::Busy { socket },
        _ => ClientError::Connect { socket, source },
    }
}
