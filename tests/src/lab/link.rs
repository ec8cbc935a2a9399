//! Links: veth pairs.

use std::fmt::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::host::{Host, address_line};
use super::{Shared, lock, tool};

/// MTU of a link unless its ends say otherwise, in bytes.
const DEFAULT_MTU: u32 = 1_500;

/// Longest name of an interface: the kernel's IFNAMSIZ without the final NUL.
const MAX_INTERFACE_LEN: usize = 15;

/// Time that `ethtool` may take.
const ETHTOOL_TIMEOUT: Duration = Duration::from_secs(10);

/// One end of a link to be: a host, an interface, and how it is set up.
#[derive(Clone)]
pub struct End {
    host: Host,
    interface: String,
    mac: Option<[u8; 6]>,
    mtu: u32,
    addresses: Vec<String>,
}

impl End {
    /// An end without addresses, with MTU 1,500 and a MAC address that is unique in the lab and the same in each run.
    pub fn new(host: &Host, interface: &str) -> Self {
        Self {
            host: host.clone(),
            interface: interface.to_owned(),
            mac: None,
            mtu: DEFAULT_MTU,
            addresses: Vec::new(),
        }
    }

    /// With this MAC address.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = Some(mac);
        self
    }

    /// With this MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// With this address too: IPv4 or IPv6 with its prefix length, such as `10.0.0.1/24`.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    pub(super) fn mtu_bytes(&self) -> u32 {
        self.mtu
    }

    pub(super) fn host_name(&self) -> &str {
        self.host.name()
    }

    pub(super) fn is_of(&self, lab: &Arc<Shared>) -> bool {
        Arc::ptr_eq(self.host.lab(), lab)
    }

    fn mac_or_next(&self) -> [u8; 6] {
        self.mac.unwrap_or_else(|| self.host.lab().next_mac())
    }

    /// What `ip link add` wants to know of this end.
    fn link_arguments(&self, mac: [u8; 6]) -> Result<String> {
        let Self { interface, mtu, host, .. } = self;
        ensure!(
            !interface.is_empty() && interface.len() <= MAX_INTERFACE_LEN,
            "{interface:?} is no interface name: 1 to {MAX_INTERFACE_LEN} characters"
        );
        Ok(format!("{interface} address {} mtu {mtu} netns {}", format_mac(mac), host.netns()))
    }

    /// Sets the end up, as a network card that leaves nothing to offload.
    fn set_up(&self) -> Result<()> {
        let interface = &self.interface;
        // A size of 1 keeps GRO from merging: frames stay as they were on the wire.
        let mut lines = vec![format!("link set dev {interface} gro_max_size 1 up")];
        lines.extend(self.addresses.iter().map(|address| address_line(interface, address)));
        tool::ip_batch(self.host.netns(), &lines)?;
        // Transmit offloads off: an XDP program at the other end must see complete checksums and real segments.
        // VLAN offloads off: it must see tags in the frame, where a wire has them, and not beside it.
        // GRO on: it makes veth poll, which is what receiving XDP frames (XDP_TX, XDP_REDIRECT) needs.
        let mut ethtool = Command::new("ethtool");
        ethtool.args(["-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "on"]);
        ethtool.args([
            "txvlan",
            "off",
            "rxvlan",
            "off",
            "tx-vlan-stag-hw-insert",
            "off",
            "rx-vlan-stag-hw-parse",
            "off",
        ]);
        self.host.run(ethtool, ETHTOOL_TIMEOUT)?.success()?;
        Ok(())
    }
}

/// A veth pair between two hosts.
pub struct Link {
    a: Attached,
    b: Attached,
    /// Routes of `b` to put back, while the link is cut.
    cut: Mutex<Option<Vec<String>>>,
}

struct Attached {
    host: Host,
    interface: String,
    mac: [u8; 6],
}

impl Link {
    pub(super) fn create(a: End, b: End) -> Result<Self> {
        let (mac_a, mac_b) = (a.mac_or_next(), b.mac_or_next());
        let command =
            format!("link add {} type veth peer name {}", a.link_arguments(mac_a)?, b.link_arguments(mac_b)?);
        tool::ip(&command.split_whitespace().collect::<Vec<_>>())?;
        a.set_up()?;
        b.set_up()?;
        Ok(Self {
            a: Attached { host: a.host, interface: a.interface, mac: mac_a },
            b: Attached { host: b.host, interface: b.interface, mac: mac_b },
            cut: Mutex::default(),
        })
    }

    /// MAC addresses of the first and the second end.
    pub fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (self.a.mac, self.b.mac)
    }

    /// Pulls the cable: nothing passes, and the first end loses its carrier but keeps addresses and routes. (The
    /// second end is set down; at a bridge it is the bridge's port.) Nothing happens when it is cut already.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn cut(&self) -> Result<()> {
        let mut cut = lock(&self.cut);
        if cut.is_some() {
            return Ok(());
        }
        let routes = self.b.routes()?;
        self.b.host.ip(&format!("link set dev {} down", self.b.interface))?;
        *cut = Some(routes);
        Ok(())
    }

    /// Puts the cable back, and the second end's routes. Nothing happens when it is not cut.
    ///
    /// # Errors
    /// When the interface is gone or a route can not be put back.
    pub fn restore(&self) -> Result<()> {
        let mut cut = lock(&self.cut);
        let Some(routes) = cut.take() else { return Ok(()) };
        let host = &self.b.host;
        host.ip(&format!("link set dev {} up", self.b.interface))?;
        routes.iter().try_for_each(|route| host.ip(route).map(drop)).context("restoring a link's routes")
    }
}

impl Attached {
    /// Arguments of `ip` that put back those routes of the interface that the kernel does not add by itself when the
    /// interface comes up.
    fn routes(&self) -> Result<Vec<String>> {
        let mut commands = Vec::new();
        for family in ["-4", "-6"] {
            let shown = self.host.ip(&format!("{family} route show table all dev {}", self.interface))?;
            for route in shown.lines().filter(|route| !is_kernel_route(route)) {
                let route = route.replace(" linkdown", "").replace(" dead", "");
                commands.push(format!("{family} route replace {route} dev {}", self.interface));
            }
        }
        Ok(commands)
    }
}

fn is_kernel_route(route: &str) -> bool {
    let kinds = ["local ", "broadcast ", "multicast ", "anycast "];
    route.contains(" proto kernel") || kinds.iter().any(|kind| route.starts_with(kind))
}

fn format_mac(mac: [u8; 6]) -> String {
    let mut text = String::new();
    for (index, byte) in mac.iter().enumerate() {
        let separator = if index == 0 { "" } else { ":" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{byte:02x}");
    }
    text
}
