//! A host: one network namespace.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, mount};

use super::capture::Capture;
use super::packet_socket::PacketSocket;
use super::process::{Output, Process, Running};
use super::{MAX_PROCESSES, Shared, lock, namespace, ping, tool};

/// Settings of every host: packets are neither dropped nor answered for reasons that a test did not ask for.
const SYSCTLS: [(&str, &str); 13] = [
    // Replies may leave by another interface than the request came in by (DSR, tunnels).
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    // Lets `Host::ping` use the kernel's ICMP echo sockets.
    ("net/ipv4/ping_group_range", "0 2147483647"),
    // Addresses are usable at once.
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    // A cut link keeps its addresses, as in IPv4.
    ("net/ipv6/conf/all/keep_addr_on_down", "1"),
];

/// One host of a lab: a network namespace, and what runs in it. Clones are the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    lab: Arc<Shared>,
    name: String,
    /// Name of the namespace under `/run/netns`.
    netns: String,
    netns_fd: Arc<OwnedFd>,
    bpffs: Mutex<Option<PathBuf>>,
}

impl Host {
    /// Makes the namespace; `prepare` makes it usable.
    pub(super) fn create(lab: &Arc<Shared>, name: &str) -> Result<Self> {
        let netns = format!("{}-{name}", lab.id);
        tool::ip(&["netns", "add", &netns])?;
        let path = Path::new("/run/netns").join(&netns);
        let netns_fd = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let inner = Inner {
            lab: Arc::clone(lab),
            name: name.to_owned(),
            netns,
            netns_fd: Arc::new(netns_fd.into()),
            bpffs: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn prepare(&self) -> Result<()> {
        self.enter(|| SYSCTLS.iter().try_for_each(|(name, value)| write_sysctl(name, value)))??;
        self.ip("link set dev lo up")?;
        Ok(())
    }

    /// Name within the lab.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Name of the namespace, as `ip netns` shows it.
    pub fn netns(&self) -> &str {
        &self.inner.netns
    }

    pub(super) fn lab(&self) -> &Arc<Shared> {
        &self.inner.lab
    }

    /// Runs `work` on a thread of its own whose network is the host's: sockets opened there belong to the host, and
    /// stay so when they are handed out. A panic in it goes on in the caller.
    ///
    /// # Errors
    /// When the thread can not enter the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        namespace::enter(self.inner.netns_fd.as_fd(), work).with_context(|| format!("host {}", self.name()))
    }

    /// Starts a program in the host. It sees the host's interfaces under `/sys/class/net`, and the host's bpffs, if
    /// [`Host::bpffs`] was called, at `/sys/fs/bpf`. Its output goes to files in the lab's directory. It is ended when
    /// the returned value is dropped, or with the lab.
    ///
    /// # Errors
    /// When it can not be started.
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        let bpffs = lock(&self.inner.bpffs).as_ref().map(|path| path.to_string_lossy().into_owned());
        namespace::start_inside(&mut command, &self.inner.netns_fd, bpffs.as_deref())?;
        let lab = self.lab();
        let mut processes = lock(&lab.processes);
        ensure!(
            processes.len() < MAX_PROCESSES,
            "the lab started {MAX_PROCESSES} programs: that is all it can"
        );
        let running = Running::start(command, self.name(), &lab.dir, lab.next_log())?;
        processes.push(Arc::clone(&running));
        Ok(Process::new(running))
    }

    /// Runs a program in the host to its end.
    ///
    /// # Errors
    /// When it can not be started, or has not ended after `timeout` (it is killed then). A status other than 0 is no
    /// error; see [`Output::success`].
    pub fn run(&self, command: Command, timeout: Duration) -> Result<Output> {
        let process = self.spawn(command)?;
        match process.wait(timeout)? {
            Some(status) => {
                let output = process.output(status)?;
                process.forget(&self.lab().processes)?;
                Ok(output)
            }
            None => bail!("not ended after {timeout:?}: {}", process.log_tail()),
        }
    }

    /// Runs one `ip` command in the host, such as `route add 10.2.0.0/16 via 10.1.0.1`; returns what it printed.
    ///
    /// # Errors
    /// When `ip` fails, with its message.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut words = vec!["-n", self.netns()];
        words.extend(arguments.split_whitespace());
        tool::ip(&words)
    }

    /// Adds a route, such as `10.2.0.0/16` or `2001:db8::/32`.
    ///
    /// # Errors
    /// When the gateway is not on a link of the host, or the route exists.
    pub fn route(&self, destination: &str, gateway: IpAddr) -> Result<()> {
        self.ip(&format!("route add {destination} via {gateway}")).map(drop)
    }

    /// Sends everything without a better route to `gateway`, within its address family.
    ///
    /// # Errors
    /// As [`Host::route`].
    pub fn default_gateway(&self, gateway: IpAddr) -> Result<()> {
        let family = if gateway.is_ipv4() { "-4" } else { "-6" };
        self.ip(&format!("{family} route add default via {gateway}")).map(drop)
    }

    /// Adds an address (with prefix length) to an interface; `lo` for a VIP that a real server owns.
    ///
    /// # Errors
    /// When the interface does not exist or has the address.
    pub fn address(&self, interface: &str, address: &str) -> Result<()> {
        self.ip(&address_line(interface, address)).map(drop)
    }

    /// Sets a sysctl by its path under `/proc/sys`, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such setting or the value is refused.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.enter(|| write_sysctl(name, value))?
    }

    /// Answers and announces IPv4 addresses only on the interface that has them: what a real server needs that owns a
    /// VIP on `lo` in a segment where the load balancer answers ARP for it. (IPv6 behaves so by itself.)
    ///
    /// # Errors
    /// As [`Host::sysctl`].
    pub fn hide_loopback_addresses(&self) -> Result<()> {
        self.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        self.sysctl("net/ipv4/conf/all/arp_announce", "2")
    }

    /// A bpffs of the host's own, mounted on the first call, removed with the lab. Programs started later see it at
    /// this path and at `/sys/fs/bpf`.
    ///
    /// # Errors
    /// When it can not be mounted.
    pub fn bpffs(&self) -> Result<PathBuf> {
        let mut bpffs = lock(&self.inner.bpffs);
        if let Some(path) = &*bpffs {
            return Ok(path.clone());
        }
        let path = self.lab().dir.join(format!("{}-bpffs", self.name()));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        mount("bpf", &path, "bpf", MountFlags::empty(), None)
            .with_context(|| format!("mounting a bpffs at {}", path.display()))?;
        Ok(bpffs.insert(path).clone())
    }

    /// Sends an ICMP echo request and waits for its reply.
    ///
    /// # Errors
    /// When no reply comes in time, or the destination is reported unreachable.
    pub fn ping(&self, destination: IpAddr, timeout: Duration) -> Result<()> {
        self.enter(|| ping::ping(destination, timeout))?
            .with_context(|| format!("host {}: ping {destination}", self.name()))
    }

    /// Records the frames that `filter` accepts on an interface, from now on, in both directions. Frames that an XDP
    /// program drops, redirects or returns are not seen on its interface: capture at the other end of the link.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn capture(
        &self,
        interface: &str,
        filter: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Capture> {
        Capture::start(self.packet_socket(interface)?, filter)
    }

    /// Sends a whole Ethernet frame out of an interface as it is.
    ///
    /// # Errors
    /// When there is no such interface, or the frame is longer than its MTU allows.
    pub fn inject(&self, interface: &str, frame: &[u8]) -> Result<()> {
        self.packet_socket(interface)?.send(frame)
    }

    fn packet_socket(&self, interface: &str) -> Result<PacketSocket> {
        self.enter(|| PacketSocket::open(interface))?
            .with_context(|| format!("host {}: interface {interface}", self.name()))
    }
}

/// Arguments of `ip` that add an address; IPv6 ones without duplicate address detection.
pub(super) fn address_line(interface: &str, address: &str) -> String {
    let nodad = if address.contains(':') { " nodad" } else { "" };
    format!("address add {address} dev {interface}{nodad}")
}

/// Writes a sysctl of the calling thread's network namespace.
fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
}
