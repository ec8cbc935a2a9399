//! Topologies of network namespaces.
//!
//! Role: hosts (a namespace each), links (veth pairs), bridges and routers; programs and closures run inside a host;
//! captures; cuts. Imports nothing of ours.
//! Always holds: everything made carries its owner's identity in its name, so that labs run side by side, [`Lab`]'s
//! drop removes what it made (on a panic too), and [`Lab::sweep`] removes what a killed owner left behind.
//!
//! ```no_run
//! # use std::{process::Command, time::Duration};
//! # use lb_tests::lab::{End, Lab};
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::new("example")?;
//! let (client, server) = (lab.host("client")?, lab.host("server")?);
//! let bridge = lab.bridge("segment")?;
//! bridge.join(End::new(&client, "eth0").address("10.0.0.1/24"))?;
//! let cable = bridge.join(End::new(&server, "eth0").address("10.0.0.2/24"))?;
//! let nginx = server.spawn(Command::new("nginx"))?;
//! client.ping("10.0.0.2".parse()?, Duration::from_secs(1))?;
//! cable.cut()?;
//! nginx.terminate()?;
//! # Ok(())
//! # }
//! ```

mod bridge;
mod capture;
mod host;
mod interrupt;
mod link;
mod namespace;
mod owner;
mod packet_socket;
mod ping;
mod process;
mod sweep;
mod tool;
mod wait;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

pub use bridge::Bridge;
pub use capture::{Capture, Direction, Frame};
pub use host::Host;
pub use interrupt::{Interrupted, interrupted};
pub use link::{End, Link};
pub use process::{Output, Process};
pub use sweep::Swept;
pub use wait::wait_until;

use owner::LabId;
use process::Running;

/// Directory of every lab's files: logs and bpffs mounts, each lab's in a directory named by [`Lab::id`]. Only root can
/// write there.
pub const LABS_DIR: &str = "/run/lb-lab";

/// Programs that one lab starts with [`Host::spawn`], ended ones included.
const MAX_PROCESSES: usize = 4_096;

/// Longest name of a lab or a host.
const MAX_NAME_LEN: usize = 40;

/// A topology under construction or in use; dropping it removes everything it made.
pub struct Lab {
    shared: Arc<Shared>,
}

/// What a lab's hosts, links and processes refer to.
struct Shared {
    id: LabId,
    dir: PathBuf,
    next_mac: AtomicU32,
    next_log: AtomicU32,
    host_names: Mutex<Vec<String>>,
    processes: Mutex<Vec<Arc<Running>>>,
}

impl Lab {
    /// An empty lab. `name` (letters, digits, `_`, `.`) need not be unique: every instance has a prefix of its own.
    /// Leftovers of dead owners are removed first.
    ///
    /// # Errors
    /// Without root, without the tools `ip` and `ethtool`, or for a name with other characters.
    pub fn new(name: &str) -> Result<Self> {
        check_name(name)?;
        ensure!(
            rustix::process::geteuid().is_root(),
            "the lab makes network namespaces, which needs root: run this as root or with sudo"
        );
        Self::sweep().context("removing what dead labs left behind")?;
        let id = LabId::new(name)?;
        let dir = Path::new(LABS_DIR).join(id.to_string());
        fs::create_dir(&dir).with_context(|| format!("making the lab's directory {}", dir.display()))?;
        let shared = Shared {
            id,
            dir,
            next_mac: AtomicU32::new(1),
            next_log: AtomicU32::new(1),
            host_names: Mutex::default(),
            processes: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Removes namespaces, processes, mounts and files of labs whose owner is dead. Safe to call at any time, also
    /// while other labs run.
    ///
    /// # Errors
    /// When something of a dead lab can not be removed.
    pub fn sweep() -> Result<Swept> {
        sweep::sweep(Path::new(LABS_DIR))
    }

    /// Makes SIGINT, SIGTERM and SIGHUP set a flag that every wait of the lab checks, instead of ending the process:
    /// waits then fail with [`Interrupted`], the caller returns, and drop cleans up. Callers with loops of their own
    /// check [`interrupted`]. The third signal ends the process at once.
    ///
    /// # Errors
    /// When the handlers can not be installed.
    pub fn handle_interrupts() -> Result<()> {
        interrupt::install()
    }

    /// A new host: a namespace with loopback up, no IPv6 duplicate address detection, no reverse path filter, and no
    /// other interface yet.
    ///
    /// # Errors
    /// When the name is taken in this lab, has characters other than letters, digits, `_` and `.`, or the namespace
    /// can not be made.
    pub fn host(&self, name: &str) -> Result<Host> {
        check_name(name)?;
        let mut names = lock(&self.shared.host_names);
        ensure!(!names.iter().any(|taken| taken == name), "the lab has a host named {name} already");
        names.push(name.to_owned());
        drop(names);
        let host = Host::create(&self.shared, name)?;
        host.prepare()?;
        Ok(host)
    }

    /// A host that forwards IPv4 and IPv6.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn router(&self, name: &str) -> Result<Host> {
        let host = self.host(name)?;
        host.sysctl("net/ipv4/ip_forward", "1")?;
        host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        Ok(host)
    }

    /// A learning bridge in a namespace of its own, without members yet.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn bridge(&self, name: &str) -> Result<Bridge> {
        Bridge::create(self.host(name)?)
    }

    /// A veth pair between two hosts, up at both ends, offloads off.
    ///
    /// # Errors
    /// When an interface name is taken, an address is malformed, or a host is of another lab.
    pub fn link(&self, a: End, b: End) -> Result<Link> {
        ensure!(a.is_of(&self.shared) && b.is_of(&self.shared), "a link between hosts of different labs");
        Link::create(a, b)
    }

    /// The end of what every program printed that [`Host::spawn`] started, for messages. A panic prints it by itself.
    pub fn logs(&self) -> String {
        let tails = lock(&self.shared.processes).iter().map(|process| process.log_tail()).collect::<Vec<_>>();
        tails.join("\n")
    }

    /// Directory of the lab's files; removed with the lab.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// What names everything of this lab: `lb-PID-START-COUNT-NAME`.
    pub fn id(&self) -> String {
        self.shared.id.to_string()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let processes = std::mem::take(&mut *lock(&self.shared.processes));
        process::end_all(&processes);
        if let Err(error) = sweep::remove_lab(&self.shared.id.to_string(), Path::new(LABS_DIR)) {
            eprintln!("lab {}: not everything could be removed: {error:#}", self.shared.id);
        }
    }
}

impl Shared {
    /// A locally administered unicast MAC address, unique within the lab, the same in every run of the same code.
    fn next_mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.next_mac.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        [0x02, 0x1b, a, b, c, d]
    }

    fn next_log(&self) -> u32 {
        self.next_log.fetch_add(1, Ordering::Relaxed)
    }
}

/// The lock, also after a panic in another thread: the lists stay usable, which cleaning up depends on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_name(name: &str) -> Result<()> {
    ensure!(
        !name.is_empty()
            && name.len() <= MAX_NAME_LEN
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)),
        "{name:?} is no name for a lab or a host: 1 to {MAX_NAME_LEN} letters, digits, `_`, `.`"
    );
    Ok(())
}
