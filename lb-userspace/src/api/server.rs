//! The server: a unix socket, its modes, and the life of its connections.
//!
//! Role: binds the control socket and serves [`Control`] on it. Imports this room only.
//! Always holds: the socket is never open to others than owner and group, not even for a moment; only the holder of
//! the [`AgentLock`] binds, so a socket that nobody answers is a leftover and may be replaced.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::watch;

use super::control::Control;
use super::guard::GuardedListener;
use super::lock::AgentLock;
use super::routes::router;

/// Mode of the socket: root and the group may connect.
pub const SOCKET_MODE: u32 = 0o660;

/// Largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Most connections served at a time; further ones wait in the backlog.
pub const MAX_CONNECTIONS: usize = 64;

/// Most connections that wait to be accepted.
pub const BACKLOG: u32 = 128;

/// Most edits at work or waiting for their turn.
pub const MAX_EDITS: usize = 16;

/// Most requests that wait for an event at a time.
pub const MAX_WAITS: usize = 16;

/// Time that a body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(5);

/// Time that a call may take before its client is told so.
pub const CALL_TIME: Duration = Duration::from_secs(10);

/// Time that a connection lives, whatever happens on it. Clients connect anew.
pub const CONNECTION_LIFETIME: Duration = Duration::from_secs(30);

/// Time that connections get to end when the server stops.
pub const STOP_TIME: Duration = Duration::from_secs(2);

/// Bounds of a server. The default is the constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// Most connections served at a time.
    pub connections: usize,
    /// Most edits at work or waiting for their turn.
    pub edits: usize,
    /// Most requests that wait for an event at a time; fewer than connections, so that others are served beside them.
    pub waits: usize,
    /// Time that a body may take to arrive.
    pub body_time: Duration,
    /// Time that a call may take before its client is told so.
    pub call_time: Duration,
    /// Time that a connection lives.
    pub connection_lifetime: Duration,
    /// Time that connections get to end when the server stops.
    pub stop_time: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            body_bytes: MAX_BODY_BYTES,
            connections: MAX_CONNECTIONS,
            edits: MAX_EDITS,
            waits: MAX_WAITS,
            body_time: BODY_TIME,
            call_time: CALL_TIME,
            connection_lifetime: CONNECTION_LIFETIME,
            stop_time: STOP_TIME,
        }
    }
}

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path is taken by something that is no socket.
    #[error("{} is there and is not a socket; remove it, or set another control_socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another program answers there.
    #[error("another program answers at {}; stop it, or set another control_socket", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot open the control socket {}: {source}; see that its directory exists and that lbd may write to it", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An open control socket; removed when dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    file: SocketFile,
    limits: ServerLimits,
}

impl Server {
    /// Opens the control socket at `path`, replacing one that nobody answers. Clients may connect from now on and are
    /// served once [`Server::run`] runs. Needs a tokio runtime.
    ///
    /// `lock` is the proof that no other agent owns a socket that seems to be left over.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(path: &Path, _lock: &AgentLock, limits: ServerLimits) -> Result<Self, BindError> {
        remove_leftover(path).await?;
        let listener = listen(path).map_err(|source| BindError::Io { path: path.into(), source })?;
        tracing::info!(path = %path.display(), "control socket open");
        Ok(Self { listener, file: SocketFile(path.into()), limits })
    }

    /// Serves until `shutdown` is ready, then lets the connections end for [`ServerLimits::stop_time`] at most and
    /// removes the socket.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run<C: Control>(
        self,
        control: Arc<C>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let Self { listener, file, limits } = self;
        let (stop, mut stopping) = watch::channel(());
        let listener = GuardedListener::new(listener, limits.connections, limits.connection_lifetime);
        let serving = axum::serve(listener, router(control, limits, stopping.clone()))
            .with_graceful_shutdown(async move {
                shutdown.await;
                drop(stop);
            });
        let result = tokio::select! {
            result = async { serving.await } => result,
            () = async {
                // The sender is only ever dropped: that is the signal.
                let _: Result<(), _> = stopping.changed().await;
                tokio::time::sleep(limits.stop_time).await;
            } => Ok(()),
        };
        drop(file);
        result
    }
}

/// The socket's name in the file system, for as long as the server lives.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the control socket");
        }
    }
}

/// Removes a socket that nobody answers, and nothing else.
async fn remove_leftover(path: &Path) -> Result<(), BindError> {
    let io_error = |source| BindError::Io { path: path.into(), source };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.into() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(error)),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing a control socket that nobody answers");
            std::fs::remove_file(path).map_err(io_error)
        }
        // A full backlog (EAGAIN on a unix socket) is somebody who listens.
        Ok(_) => Err(BindError::Taken { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::Taken { path: path.into() })
        }
        Err(error) => Err(io_error(error)),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // Linux makes the socket's file with the mode of the unbound socket less the umask, so it is never wider than this
    // (net/unix/af_unix.c, unix_bind_bsd). The chmod afterwards gives back what the umask took.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    socket.bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)
}
