//! What can keep the agent from doing its work.

use crate::api::lock::LockError;
use crate::api::server::BindError;
use crate::config::{LoadError, WriteError};
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::KernelError;
use crate::keeper::KeepError;
use crate::netlink::NetlinkError;
use crate::reconcile::ReconcileError;
use std::path::PathBuf;

/// Why the agent cannot start, or a configuration cannot take effect.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The configuration serves nothing.
    #[error(
        "{path} has no services: applying it would stop all forwarding; add a service, or if that is meant start lbd with `--force`"
    )]
    ServesNothing {
        /// The file.
        path: PathBuf,
    },
    /// Rights are missing.
    #[error(
        "lbd lacks {missing}: run it as root (sudo), or give it CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN"
    )]
    Privileges {
        /// The capabilities that are missing.
        missing: String,
    },
    /// Another agent runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The control socket could not be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The program, its links or pins.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The maps.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The configuration does not fit into the maps.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The node's network.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// An interface with a program of somebody else.
    #[error(
        "{interface} already has the XDP program {name} (id {id}) of another owner; see it with `bpftool prog show id \
         {id}`, take it away with its own tool or `ip link set dev {interface} xdp off`, then start lbd again"
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// The program's name.
        name: String,
        /// The kernel's id of it.
        id: u32,
    },
    /// An interface of the configuration does not exist.
    #[error("there is no interface {interface} (node.interfaces); this node has {present}")]
    NoInterface {
        /// The interface.
        interface: String,
        /// Names of those that exist.
        present: String,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl From<KeepError> for AgentError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Reconcile(error) => Self::Reconcile(error),
            KeepError::Dataplane(error) => Self::Dataplane(error),
        }
    }
}
