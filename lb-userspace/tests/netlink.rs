//! The netlink room against the kernel, in network namespaces of its own. Needs root, `ip` and veth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::File;
use std::future::Future;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_userspace::netlink::announce::announce;
use lb_userspace::netlink::sysctl::{self, Family};
use lb_userspace::netlink::{
    Address, CacheState, Link, Mac, Medium, NeighbourKey, NeighbourState, Netlink, NetlinkError, NextHop,
    NextHopError, NextHopTable, PortKind, Resolver, ResolverOptions, XdpAttachment, XdpAttachmentMode,
    offload, trunk,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::watch;

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

const NODE_MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];
const PEER_MAC: Mac = [0x02, 0, 0, 0, 0, 0x02];
const NEW_PEER_MAC: Mac = [0x02, 0, 0, 0, 0, 0x99];

/// A network namespace that goes away with the value.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(role: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lbnl-{}-{number}-{role}", std::process::id());
        run("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        // Addresses are usable at once.
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        Ok(namespace)
    }

    fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        run("ip", &all)
    }

    fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.enter(|| std::fs::write(format!("/proc/sys/{key}"), value))?.context(key.to_owned())
    }

    /// Runs `work` on a thread that lives in the namespace.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = File::open(format!("/run/netns/{}", self.name))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                anyhow::Ok(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs async `work` in the namespace, on a runtime of its own.
    fn block_on<F: Future<Output = Result<()>>>(&self, work: impl FnOnce() -> F + Send) -> Result<()> {
        self.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        })?
    }

    /// Sees every frame that passes an interface of the namespace, from now on.
    fn capture(&self) -> Result<Capture> {
        self.enter(|| {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(eth::ALL))?;
            sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(100)))?;
            Ok(Capture { socket })
        })?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run("ip", &["netns", "del", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().context("ip")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {stderr}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// The first frame that fits, or an error when none comes.
    fn wait_for(&self, fits: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 2_048];
        while Instant::now() < deadline {
            if let Ok((bytes, _)) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())
                && fits(&buffer[..bytes])
            {
                buffer.truncate(bytes);
                return Ok(buffer);
            }
        }
        anyhow::bail!("no such frame within {PATIENCE:?}")
    }
}

/// A node and a peer, joined by a veth: `n0` (`10.77.0.1`, `2001:db8:77::1`) and `p0` (2 and 3).
struct Pair {
    node: Namespace,
    peer: Namespace,
}

impl Pair {
    fn new() -> Result<Self> {
        let pair = Self { node: Namespace::new("node")?, peer: Namespace::new("peer")? };
        let peer = &pair.peer.name;
        pair.node.ip(&format!(
            "link add n0 address 02:00:00:00:00:01 type veth \
             peer name p0 netns {peer} address 02:00:00:00:00:02"
        ))?;
        pair.node.ip("addr add 10.77.0.1/24 dev n0")?;
        pair.node.ip("addr add 2001:db8:77::1/64 dev n0 nodad")?;
        for host in [2, 3] {
            pair.peer.ip(&format!("addr add 10.77.0.{host}/24 dev p0"))?;
            pair.peer.ip(&format!("addr add 2001:db8:77::{host}/64 dev p0 nodad"))?;
        }
        pair.peer.sysctl("net/ipv6/conf/p0/keep_addr_on_down", "1")?;
        pair.peer.ip("link set p0 up")?;
        pair.node.ip("link set n0 up")?;
        Ok(pair)
    }

    /// Gives the peer another Ethernet address, as when a server is replaced.
    fn replace_peer(&self) -> Result<()> {
        self.peer.ip("link set p0 address 02:00:00:00:00:99").map(drop)
    }

    fn peer_link(&self) -> Result<Link> {
        let mut link = None;
        self.peer.block_on(|| async {
            link = Some(Netlink::open()?.link_by_name("p0").await?);
            Ok(())
        })?;
        link.context("p0")
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| address(text)).collect()
}

/// Waits until the resolver's table fits, and says how long that took.
async fn wait_for(
    table: &mut watch::Receiver<NextHopTable>,
    what: &str,
    fits: impl Fn(&NextHopTable) -> bool,
) -> Result<Duration> {
    let started = Instant::now();
    let waited = tokio::time::timeout(PATIENCE, table.wait_for(fits)).await.map(|result| result.is_ok());
    let is_reached = matches!(waited, Ok(true));
    ensure!(is_reached, "{what}: not within {PATIENCE:?}; the table is {:#?}", table.borrow());
    Ok(started.elapsed())
}

fn destination_mac(table: &NextHopTable, destination: &str) -> Option<Mac> {
    table.get(&address(destination))?.as_ref().ok()?.destination_mac
}

/// Waits until the kernel's own entry for a neighbour has a state.
async fn wait_for_state(netlink: &Netlink, neighbour: NeighbourKey, state: CacheState) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = netlink.neighbour(neighbour).await?;
        if now.state == state {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{neighbour:?} is {now:?}, not {state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_arp_request_for(frame: &[u8], target: [u8; 4]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06])
        && frame.get(20..22) == Some(&[0, 1])
        && frame.get(38..42) == Some(&target)
}

fn is_neighbour_solicitation_for(frame: &[u8], target: &str) -> bool {
    let IpAddr::V6(target) = address(target) else { return false };
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(54) == Some(&135)
        && frame.get(62..78) == Some(&target.octets())
}

#[test]
fn links_are_listed_with_what_the_datapath_needs() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("link set n0 mtu 1400")?;
    pair.node.ip("tuntap add dev t0 mode tun")?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let link = netlink.link_by_name("n0").await?;
        assert_eq!((link.mac, link.mtu, link.medium), (Some(NODE_MAC), 1_400, Medium::Ethernet));
        assert_eq!((link.kind.as_deref(), link.up, link.resolves_neighbours), (Some("veth"), true, true));
        assert_eq!(netlink.link_by_index(link.index).await?, link);
        let links = netlink.links().await?;
        assert!(links.contains(&link));
        let medium = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.medium);
        assert_eq!((medium("lo"), medium("t0")), (Some(Medium::Loopback), Some(Medium::Other)));
        for name in ["none0", "a-name-that-is-longer-than-the-kernel-allows", ""] {
            let error = netlink.link_by_name(name).await.expect_err(name);
            assert_eq!(error, NetlinkError::NoSuchLink { link: name.to_owned() });
        }
        Ok(())
    })
}

#[test]
fn ports_of_bridges_are_seen_and_no_vlan_where_there_is_none() -> Result<()> {
    let pair = Pair::new()?;
    for command in [
        "link add br0 type bridge",
        "link add v0 type veth peer name v1",
        "link set v0 master br0",
        "link add m0 link n0 type macvlan",
    ] {
        pair.node.ip(command)?;
    }
    pair.node.block_on(|| async {
        let links = links_by_index().await?;
        let named = |name: &str| links.values().find(|link| link.name == name).context(name.to_owned());
        for name in ["n0", "br0", "m0"] {
            assert_eq!((named(name)?.vlan, trunk(&links, named(name)?.index)), (None, None), "{name}");
        }
        let port = named("v0")?;
        assert_eq!((port.port_kind, port.controller), (Some(PortKind::Bridge), Some(named("br0")?.index)));
        assert_eq!((named("v1")?.port_kind, named("v1")?.controller), (None, None));
        Ok(())
    })
}

async fn links_by_index() -> Result<BTreeMap<u32, Link>> {
    Ok(Netlink::open()?.links().await?.into_iter().map(|link| (link.index, link)).collect())
}

#[test]
fn it_is_seen_whether_a_card_takes_tags_off() -> Result<()> {
    let pair = Pair::new()?;
    let takes_off = || pair.node.enter(|| offload::takes_vlan_tags_off("n0"));
    for on in [true, false] {
        let setting = if on { "on" } else { "off" };
        run("ip", &["netns", "exec", &pair.node.name, "ethtool", "-K", "n0", "rxvlan", setting])?;
        assert_eq!(takes_off()??, on);
    }
    assert!(pair.node.enter(|| offload::takes_vlan_tags_off("none0"))?.is_err());
    assert!(offload::takes_vlan_tags_off("a-name-that-is-too-long").is_err());
    Ok(())
}

#[test]
fn a_foreign_xdp_program_is_seen_with_mode_and_id() -> Result<()> {
    const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    let pair = Pair::new()?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let link = netlink.link_by_name("n0").await?;
        assert_eq!(link.xdp, None);
        let (program, program_id) = load_xdp_pass()?;
        for (flags, mode) in [
            (XDP_FLAGS_SKB_MODE, XdpAttachmentMode::Generic),
            (XDP_FLAGS_DRV_MODE, XdpAttachmentMode::Driver),
        ] {
            set_xdp(link.index, program.as_raw_fd(), flags).await?;
            let expected = XdpAttachment { mode, program_id };
            assert_eq!(netlink.link_by_name("n0").await?.xdp, Some(expected));
            set_xdp(link.index, -1, flags).await?;
            assert_eq!(netlink.link_by_name("n0").await?.xdp, None);
        }
        Ok(())
    })
}

/// Loads a program that lets every packet pass.
fn load_xdp_pass() -> Result<(OwnedFd, u32)> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    const BPF_PROG_TYPE_XDP: u64 = 6;
    // r0 = XDP_PASS; exit
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    let license = c"MIT";
    let mut attributes = [0_u64; 16];
    attributes[0] = BPF_PROG_TYPE_XDP | 2 << 32;
    attributes[1] = instructions.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    let fd = i32::try_from(bpf(BPF_PROG_LOAD, &mut attributes)?)?;
    // SAFETY: the kernel just made this descriptor and nothing else has it.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    // The first fields of struct bpf_prog_info are the type and the id.
    let mut info = [0_u32; 2];
    let mut attributes = [0_u64; 16];
    attributes[0] = u64::try_from(fd)? | 8 << 32;
    attributes[1] = info.as_mut_ptr() as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok((program, info[1]))
}

fn bpf(command: libc::c_long, attributes: &mut [u64; 16]) -> Result<libc::c_long> {
    // SAFETY: the attributes are as long as said and outlive the call, as do the buffers that the callers put into
    // them with their own lengths.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    ensure!(result >= 0, "bpf: {}", std::io::Error::last_os_error());
    Ok(result)
}

async fn set_xdp(ifindex: u32, program: i32, flags: u32) -> Result<()> {
    use futures_util::StreamExt;
    let (connection, mut handle, _events) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(program), LinkXdp::Flags(flags)]));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetLink(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut answers = handle.request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            ensure!(error.code.is_none(), "attach: {error}");
        }
    }
    Ok(())
}

#[test]
fn next_hops_on_link_and_through_gateways() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("route add 198.51.100.0/24 via 10.77.0.2 mtu 1300")?;
    pair.node.ip("route add 203.0.113.0/24 via inet6 2001:db8:77::3")?;
    pair.node.ip("route add 2001:db8:ffff::/48 via 2001:db8:77::2")?;
    pair.node.ip("route add 192.0.2.0/24 nexthop via 10.77.0.2 nexthop via 10.77.0.3")?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        let expected = |destination: &str, source: &str, gateway: Option<&str>, mtu| NextHop {
            destination: address(destination),
            ifindex,
            source_mac: NODE_MAC,
            destination_mac: None,
            mtu,
            preferred_source: Some(address(source)),
            gateway: gateway.map(address),
            neighbour_state: NeighbourState::Resolving,
        };
        for hop in [
            expected("10.77.0.2", "10.77.0.1", None, 1_500),
            expected("2001:db8:77::2", "2001:db8:77::1", None, 1_500),
            expected("198.51.100.9", "10.77.0.1", Some("10.77.0.2"), 1_300),
            expected("203.0.113.9", "10.77.0.1", Some("2001:db8:77::3"), 1_500),
            expected("2001:db8:ffff::9", "2001:db8:77::1", Some("2001:db8:77::2"), 1_500),
        ] {
            assert_eq!(netlink.next_hop(hop.destination).await?, hop);
        }
        let gateway = netlink.next_hop(address("192.0.2.1")).await?.gateway;
        let either = [Some(address("10.77.0.2")), Some(address("10.77.0.3"))];
        assert!(either.contains(&gateway), "{gateway:?}");
        Ok(())
    })
}

#[test]
fn next_hops_through_link_local_gateways_and_gateways_in_no_network_of_ours() -> Result<()> {
    let pair = Pair::new()?;
    let shown = pair.peer.ip("-6 -o addr show dev p0 scope link")?;
    let link_local =
        shown.split_whitespace().find(|word| word.starts_with("fe80")).context("no link-local")?;
    let link_local = link_local.split('/').next().context("address")?;
    pair.node.ip(&format!("route add 2001:db8:ffff::/48 via {link_local} dev n0"))?;
    pair.node.ip("route add 198.51.100.0/24 via 172.31.9.9 dev n0 onlink")?;
    pair.peer.ip("addr add 172.31.9.9/32 dev p0")?;
    pair.node.block_on(|| async {
        let resolver = Resolver::spawn(ResolverOptions::default())?;
        let mut table = resolver.table();
        let ways = [("2001:db8:ffff::9", link_local), ("198.51.100.9", "172.31.9.9")];
        resolver.update(addresses(&ways.map(|(destination, _)| destination)))?;
        wait_for(&mut table, "resolved through their gateways", |table| {
            ways.iter().all(|(destination, gateway)| {
                matches!(table.get(&address(destination)), Some(Ok(hop))
                    if hop.gateway == Some(address(gateway)) && hop.destination_mac == Some(PEER_MAC))
            })
        })
        .await?;
        Ok(())
    })
}

#[test]
fn of_several_next_hops_one_that_falls_silent_is_left_and_found_again() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.sysctl("net/ipv4/fib_multipath_use_neigh", "1")?;
    pair.node.ip("route add 192.0.2.0/24 nexthop via 10.77.0.2 nexthop via 10.77.0.3")?;
    pair.node.ip(
        "route add 2001:db8:9::/64 nexthop via 2001:db8:77::2 dev n0 nexthop via 2001:db8:77::3 dev n0",
    )?;
    for family in ["ipv4", "ipv6"] {
        pair.node.sysctl(&format!("net/{family}/neigh/n0/retrans_time_ms"), "100")?;
    }
    for (destination, prefix) in [("192.0.2.1", "10.77.0."), ("2001:db8:9::1", "2001:db8:77::")] {
        let bits = if destination.contains(':') { 64 } else { 24 };
        pair.node.block_on(|| async {
            let resolver = Resolver::spawn(ResolverOptions::default())?;
            let mut table = resolver.table();
            resolver.update(addresses(&[destination]))?;
            let by = |table: &NextHopTable| table.get(&address(destination))?.as_ref().ok()?.gateway;
            let resolved = |table: &NextHopTable| destination_mac(table, destination).is_some();
            wait_for(&mut table, "resolved", resolved).await?;
            let used = by(&table.borrow()).context("no gateway")?;
            let dead = format!("{used}/{bits} dev p0");
            pair.peer.ip(&format!("addr del {dead}"))?;
            // As when the kernel, or the resolver's next round, asks.
            pair.node.ip(&format!("neigh change {used} dev n0 nud probe"))?;
            let moved = |table: &NextHopTable| by(table) != Some(used) && resolved(table);
            let took = wait_for(&mut table, "the other gateway", moved).await?;
            ensure!(took < Duration::from_secs(3), "{destination}: it took {took:?}");
            ensure!(by(&table.borrow()).is_some_and(|other| other.to_string().starts_with(prefix)));
            pair.peer.ip(&format!("addr add {dead}{}", if bits == 64 { " nodad" } else { "" }))?;
            wait_for(&mut table, "the first gateway again", |table| by(table) == Some(used)).await?;
            Ok(())
        })?;
    }
    Ok(())
}

/// A router's word that a packet of this node's is too big (RFC 792, RFC 4443), about one that embeds `protocol`.
fn too_big(from: &str, to: &str, embedded_destination: &str, protocol: u8, mtu: u16) -> Result<Vec<u8>> {
    let (source, router, destination) = (address(to), address(from), address(embedded_destination));
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let header = |protocol: u8, length: u16, source: IpAddr, destination: IpAddr| {
        let [high, low] = length.to_be_bytes();
        let mut bytes = if source.is_ipv4() {
            vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0]
        } else {
            vec![0x60, 0, 0, 0, high, low, protocol, 64]
        };
        bytes.extend(octets(source));
        bytes.extend(octets(destination));
        if source.is_ipv4() {
            let sum = internet_checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum);
        }
        bytes
    };
    let embedded = [header(protocol, 1_500, source, destination), vec![0x45; 8]].concat();
    let [high, low] = mtu.to_be_bytes();
    let kind = if source.is_ipv4() { [3, 4] } else { [2, 0] };
    let mut icmp = [&kind[..], &[0, 0, 0, 0, high, low], &embedded].concat();
    let length = u16::try_from(icmp.len())?;
    let pseudo = match (router, source) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            [&from.octets()[..], &to.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, 58]].concat()
        }
        _ => Vec::new(),
    };
    let sum = internet_checksum(&[pseudo, icmp.clone()].concat());
    icmp[2..4].copy_from_slice(&sum);
    let (ether_type, outer) = if source.is_ipv4() {
        ([0x08, 0x00], header(1, 20 + length, router, source))
    } else {
        ([0x86, 0xdd], header(58, length, router, source))
    };
    Ok([&NODE_MAC[..], &PEER_MAC, &ether_type, &outer, &icmp].concat())
}

fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    let sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        (sum & 0xffff) + (sum >> 16)
    });
    // Two words of 16 bits: the fold above keeps the sum below 2^16.
    (!u16::try_from(sum).unwrap_or(u16::MAX)).to_be_bytes()
}

#[test]
fn a_router_that_complains_of_a_tunnels_packet_is_believed_at_once() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("route add 198.51.100.0/24 via 10.77.0.2")?;
    pair.node.ip("route add 2001:db8:ffff::/48 via 2001:db8:77::2")?;
    let cases = [
        ("10.77.0.2", "10.77.0.1", "198.51.100.9", 4),
        ("10.77.0.2", "10.77.0.1", "198.51.100.10", 41),
        ("2001:db8:77::2", "2001:db8:77::1", "2001:db8:ffff::9", 4),
        ("2001:db8:77::2", "2001:db8:77::1", "2001:db8:ffff::10", 41),
    ];
    pair.node.block_on(|| async {
        let options = ResolverOptions { follow_tunnel_path_mtu: true, ..ResolverOptions::default() };
        let resolver = Resolver::spawn(options)?;
        let mut table = resolver.table();
        resolver.update(addresses(&cases.map(|(_, _, destination, _)| destination)))?;
        let mtu = |table: &NextHopTable, destination: &str| {
            table.get(&address(destination)).and_then(|hop| Some(hop.as_ref().ok()?.mtu))
        };
        for (from, to, destination, protocol) in cases {
            wait_for(&mut table, "the link's MTU", |table| mtu(table, destination) == Some(1_500)).await?;
            let frame = too_big(from, to, destination, protocol, 1_400)?;
            pair.peer.enter(|| send_frame("p0", &frame))??;
            let learned = |table: &NextHopTable| mtu(table, destination) == Some(1_400);
            let took = wait_for(&mut table, &format!("the MTU to {destination}"), learned).await?;
            ensure!(took < Duration::from_secs(1), "{destination}: it took {took:?}");
        }
        Ok(())
    })
}

#[test]
fn destinations_that_cannot_be_reached_say_why() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("tuntap add dev t0 mode tun")?;
    pair.node.ip("link set t0 up")?;
    pair.node.ip("addr add 10.99.0.1/24 dev t0")?;
    for kind in ["blackhole 192.0.2.1", "unreachable 192.0.2.2", "prohibit 192.0.2.3", "throw 192.0.2.4"] {
        pair.node.ip(&format!("route add {kind}"))?;
    }
    for kind in ["blackhole 2001:db8::1", "unreachable 2001:db8::2", "prohibit 2001:db8::3"] {
        pair.node.ip(&format!("route add {kind}"))?;
    }
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let no_route = [
            "198.51.100.1",
            "2001:db8:1::1",
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
            "192.0.2.4",
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::3",
        ];
        for destination in no_route.map(address) {
            let expected = Err(NextHopError::NoRoute { destination });
            assert_eq!(netlink.next_hop(destination).await, expected);
        }
        for destination in ["10.77.0.1", "2001:db8:77::1", "127.0.0.1", "::1"].map(address) {
            let expected = Err(NextHopError::Local { destination });
            assert_eq!(netlink.next_hop(destination).await, expected);
        }
        for destination in
            ["10.77.0.255", "255.255.255.255", "0.0.0.0", "::", "224.0.0.1", "ff02::1"].map(address)
        {
            let expected = Err(NextHopError::NotUnicast { destination });
            assert_eq!(netlink.next_hop(destination).await, expected);
        }
        let destination = address("10.99.0.2");
        let expected = Err(NextHopError::UnsupportedLink { destination, link: "t0".to_owned() });
        assert_eq!(netlink.next_hop(destination).await, expected);
        Ok(())
    })
}

#[test]
fn a_neighbour_is_resolved_by_the_kernels_own_question() -> Result<()> {
    let pair = Pair::new()?;
    let capture = pair.peer.capture()?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        for destination in ["10.77.0.2", "2001:db8:77::2"].map(address) {
            let key = NeighbourKey { ifindex, address: destination };
            assert_eq!(netlink.neighbour(key).await?.state, CacheState::Missing);
            netlink.resolve_neighbour(ifindex, destination).await?;
            wait_for_state(&netlink, key, CacheState::Reachable).await?;
            let hop = netlink.next_hop(destination).await?;
            assert_eq!(hop.destination_mac, Some(PEER_MAC));
            assert_eq!(hop.neighbour_state, NeighbourState::Resolved);
        }
        Ok(())
    })?;
    capture.wait_for(|frame| is_arp_request_for(frame, [10, 77, 0, 2]))?;
    capture.wait_for(|frame| is_neighbour_solicitation_for(frame, "2001:db8:77::2"))?;
    Ok(())
}

#[test]
fn a_known_neighbour_is_asked_directly_and_stays_known() -> Result<()> {
    let pair = Pair::new()?;
    let capture = pair.peer.capture()?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        for destination in ["10.77.0.2", "2001:db8:77::2"] {
            let key = NeighbourKey { ifindex, address: address(destination) };
            let stale = "lladdr 02:00:00:00:00:02 nud stale router";
            pair.node.ip(&format!("neigh add {destination} dev n0 {stale}"))?;
            netlink.resolve_neighbour(ifindex, key.address).await?;
            assert_eq!(netlink.neighbour(key).await?.mac, Some(PEER_MAC));
            wait_for_state(&netlink, key, CacheState::Reachable).await?;
        }
        // An ARP entry's flag shows that the question left flags alone; over IPv6 the answer itself sets the flag.
        let entry = pair.node.ip("neigh show 10.77.0.2 dev n0")?;
        assert!(entry.contains("router"), "{entry}");
        Ok(())
    })?;
    let is_unicast = |frame: &[u8]| frame.get(..6) == Some(&PEER_MAC);
    capture.wait_for(|frame| is_unicast(frame) && is_arp_request_for(frame, [10, 77, 0, 2]))?;
    capture.wait_for(|frame| is_unicast(frame) && is_neighbour_solicitation_for(frame, "2001:db8:77::2"))?;
    Ok(())
}

#[test]
fn a_static_neighbour_is_left_alone() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("neigh add 10.77.0.2 dev n0 lladdr 02:00:00:00:00:77 nud permanent")?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        netlink.resolve_neighbour(ifindex, address("10.77.0.2")).await?;
        let hop = netlink.next_hop(address("10.77.0.2")).await?;
        assert_eq!(hop.destination_mac, Some([0x02, 0, 0, 0, 0, 0x77]));
        assert_eq!(hop.neighbour_state, NeighbourState::Static);
        Ok(())
    })?;
    let entry = pair.node.ip("neigh show 10.77.0.2 dev n0")?;
    assert!(entry.contains("PERMANENT"), "{entry}");
    Ok(())
}

#[test]
fn the_resolver_follows_a_changed_mac_within_a_second() -> Result<()> {
    let pair = Pair::new()?;
    let destinations = ["10.77.0.2", "2001:db8:77::2"];
    pair.node.block_on(|| async {
        let resolver = Resolver::spawn(ResolverOptions::default())?;
        let mut table = resolver.table();
        resolver.update(addresses(&destinations))?;
        let all = |mac| {
            move |table: &NextHopTable| destinations.iter().all(|d| destination_mac(table, d) == Some(mac))
        };
        wait_for(&mut table, "resolved", all(PEER_MAC)).await?;
        pair.replace_peer()?;
        let link = pair.peer_link()?;
        // The kernel knows as soon as the announcements arrive, which over a veth is at once.
        pair.peer.enter(|| destinations.iter().try_for_each(|vip| announce(&link, address(vip))))??;
        let took = wait_for(&mut table, "followed", all(NEW_PEER_MAC)).await?;
        ensure!(took < Duration::from_secs(1), "it took {took:?}");
        resolver.update(addresses(&["10.77.0.3"]))?;
        let only_third = |table: &NextHopTable| {
            table.len() == 1 && destination_mac(table, "10.77.0.3") == Some(NEW_PEER_MAC)
        };
        wait_for(&mut table, "the new set", only_third).await?;
        Ok(())
    })
}

#[test]
fn the_resolver_finds_a_neighbour_that_was_replaced_in_silence() -> Result<()> {
    let pair = Pair::new()?;
    for family in ["ipv4", "ipv6"] {
        pair.node.sysctl(&format!("net/{family}/neigh/n0/retrans_time_ms"), "100")?;
    }
    let destinations = ["10.77.0.2", "2001:db8:77::2"];
    pair.node.block_on(|| async {
        let resolver = Resolver::spawn(ResolverOptions::default())?;
        let mut table = resolver.table();
        resolver.update(addresses(&destinations))?;
        let all = |mac| {
            move |table: &NextHopTable| destinations.iter().all(|d| destination_mac(table, d) == Some(mac))
        };
        wait_for(&mut table, "resolved", all(PEER_MAC)).await?;
        pair.peer.ip("link set p0 arp off")?;
        pair.replace_peer()?;
        pair.peer.ip("link set p0 arp on")?;
        for destination in destinations {
            pair.node.ip(&format!("neigh change {destination} dev n0 nud stale"))?;
        }
        wait_for(&mut table, "found again", all(NEW_PEER_MAC)).await?;
        Ok(())
    })
}

#[test]
fn the_resolver_confirms_stale_neighbours_and_publishes_nothing_for_it() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        let key = NeighbourKey { ifindex, address: address("10.77.0.2") };
        let resolver = Resolver::spawn(ResolverOptions::default())?;
        let mut table = resolver.table();
        resolver.update(addresses(&["10.77.0.2"]))?;
        let resolved = |table: &NextHopTable| destination_mac(table, "10.77.0.2") == Some(PEER_MAC);
        wait_for(&mut table, "resolved", resolved).await?;
        table.mark_unchanged();
        for _ in 0..2 {
            pair.node.ip("neigh change 10.77.0.2 dev n0 nud stale")?;
            assert_eq!(netlink.neighbour(key).await?.state, CacheState::Stale);
            wait_for_state(&netlink, key, CacheState::Reachable).await?;
        }
        ensure!(!table.has_changed()?, "published although nothing changed");
        Ok(())
    })
}

#[test]
fn the_resolver_asks_again_for_a_neighbour_that_comes_late() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.sysctl("net/ipv4/neigh/n0/retrans_time_ms", "50")?;
    pair.node.block_on(|| async {
        let resolver = Resolver::spawn(ResolverOptions::default())?;
        let mut table = resolver.table();
        let late = address("10.77.0.9");
        resolver.update(BTreeSet::from([late]))?;
        let failed = |table: &NextHopTable| {
            matches!(table.get(&late), Some(Ok(hop)) if hop.neighbour_state == NeighbourState::Failed)
        };
        wait_for(&mut table, "failed", failed).await?;
        pair.peer.ip("addr add 10.77.0.9/24 dev p0")?;
        let resolved = |table: &NextHopTable| destination_mac(table, "10.77.0.9") == Some(PEER_MAC);
        wait_for(&mut table, "resolved", resolved).await?;
        Ok(())
    })
}

#[test]
fn the_resolver_follows_links_and_routes() -> Result<()> {
    let pair = Pair::new()?;
    let far = address("198.51.100.9");
    pair.node.block_on(|| async {
        let resolver = Resolver::spawn(ResolverOptions::default())?;
        let mut table = resolver.table();
        resolver.update(BTreeSet::from([far]))?;
        let no_route =
            |table: &NextHopTable| matches!(table.get(&far), Some(Err(NextHopError::NoRoute { .. })));
        let through = |gateway: &'static str| {
            move |table: &NextHopTable| {
                matches!(table.get(&far), Some(Ok(hop))
                    if hop.gateway == Some(address(gateway)) && hop.destination_mac == Some(PEER_MAC))
            }
        };
        wait_for(&mut table, "no route yet", no_route).await?;
        pair.node.ip("route add 198.51.100.0/24 via 10.77.0.2")?;
        wait_for(&mut table, "a route appears", through("10.77.0.2")).await?;
        pair.node.ip("route replace 198.51.100.0/24 via 10.77.0.3")?;
        wait_for(&mut table, "the route changes", through("10.77.0.3")).await?;

        pair.peer.ip("link set p0 down")?;
        let expected = NextHopError::LinkDown { destination: far, link: "n0".to_owned() };
        let down = |table: &NextHopTable| table.get(&far) == Some(&Err(expected.clone()));
        wait_for(&mut table, "the carrier goes", down).await?;
        pair.peer.ip("link set p0 up")?;
        wait_for(&mut table, "the carrier is back", through("10.77.0.3")).await?;

        pair.node.ip("link set n0 down")?;
        wait_for(&mut table, "the interface is set down", no_route).await?;
        pair.node.ip("link set n0 up")?;
        pair.node.ip("route add 198.51.100.0/24 via 10.77.0.2")?;
        wait_for(&mut table, "the interface is up again", through("10.77.0.2")).await?;
        pair.node.ip("link set n0 mtu 1400")?;
        let mtu = |table: &NextHopTable| matches!(table.get(&far), Some(Ok(hop)) if hop.mtu == 1_400);
        wait_for(&mut table, "the MTU changes", mtu).await?;
        pair.node.ip("link del n0")?;
        wait_for(&mut table, "the interface is gone", no_route).await?;
        Ok(())
    })
}

#[test]
fn the_resolver_keeps_default_gateways_resolved() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("route add default via 10.77.0.2")?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        let _resolver =
            Resolver::spawn(ResolverOptions { follow_default_gateways: true, ..ResolverOptions::default() })?;
        let reachable = async |gateway| {
            let key = NeighbourKey { ifindex, address: address(gateway) };
            wait_for_state(&netlink, key, CacheState::Reachable).await
        };
        reachable("10.77.0.2").await?;
        pair.node.ip("-6 route add default nexthop via 2001:db8:77::2 nexthop via 2001:db8:77::3")?;
        reachable("2001:db8:77::2").await?;
        reachable("2001:db8:77::3").await
    })
}

#[test]
fn the_resolver_survives_lost_events() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.block_on(|| async {
        let resolver = Resolver::spawn(ResolverOptions::default())?;
        let mut table = resolver.table();
        resolver.update(addresses(&["10.77.0.2"]))?;
        let mac_is = |mac| move |table: &NextHopTable| destination_mac(table, "10.77.0.2") == Some(mac);
        wait_for(&mut table, "resolved", mac_is(PEER_MAC)).await?;
        // The runtime has this thread only, so nobody reads events meanwhile: the socket overflows before the
        // one that matters.
        let mut batch = String::new();
        for round in 0..40 {
            for host in 0..250 {
                let entry = format!("lladdr 02:00:00:00:{round:02x}:{host:02x} nud permanent");
                writeln!(batch, "neigh replace 10.77.1.{host} dev n0 {entry}")?;
            }
        }
        batch += "neigh replace 10.77.0.2 dev n0 lladdr 02:00:00:00:00:99 nud permanent\n";
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), batch)?;
        run("ip", &["-n", &pair.node.name, "-batch", file.path().to_str().context("path")?])?;
        let took = wait_for(&mut table, "resynced", mac_is(NEW_PEER_MAC)).await?;
        ensure!(took < Duration::from_secs(1), "it took {took:?}");
        Ok(())
    })
}

#[test]
fn vips_are_added_and_removed_once_and_told_apart_from_others() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.sysctl("net/ipv6/conf/n0/accept_dad", "1")?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        for (vip, prefix_length) in [("192.0.2.80", 32), ("2001:db8::80", 128)] {
            let vip = address(vip);
            assert!(netlink.add_vip(ifindex, vip).await?);
            assert!(!netlink.add_vip(ifindex, vip).await?);
            let expected = Address { address: vip, prefix_length, ours: true, tentative: false };
            assert!(netlink.addresses(ifindex).await?.contains(&expected));
            assert!(netlink.remove_vip(ifindex, vip).await?);
            assert!(!netlink.remove_vip(ifindex, vip).await?);
            assert!(!netlink.addresses(ifindex).await?.contains(&expected));
        }
        for operators in ["10.77.0.1", "2001:db8:77::1"].map(address) {
            assert!(!netlink.add_vip(ifindex, operators).await?);
            assert!(!netlink.remove_vip(ifindex, operators).await?);
            let addresses = netlink.addresses(ifindex).await?;
            assert!(addresses.iter().any(|entry| entry.address == operators && !entry.ours));
        }
        let refused = netlink.add_vip(9_999, address("192.0.2.80")).await;
        assert!(matches!(refused, Err(NetlinkError::Refused { .. })), "{refused:?}");
        Ok(())
    })
}

#[test]
fn an_ipv6_vip_is_no_source_of_the_nodes_own_packets() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("n0").await?.index;
        // A longer common prefix with the destination than the node's own address (RFC 6724 rule 8).
        assert!(netlink.add_vip(ifindex, address("2001:db8:77::82")).await?);
        let hop = netlink.next_hop(address("2001:db8:77::83")).await?;
        assert_eq!(hop.preferred_source, Some(address("2001:db8:77::1")));
        Ok(())
    })
}

#[test]
fn forwarding_is_enabled_and_restored() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("link add n0.5 type veth peer name n0.6")?;
    pair.node.enter(|| {
        for name in ["n0", "n0.5"] {
            assert!(!sysctl::forwarding(name, Family::V4)?);
            let before = sysctl::accept_ra(name)?;
            sysctl::set_accept_ra(name, 1)?;
            let changes = sysctl::enable_forwarding(name)?;
            let shown: Vec<_> = changes.iter().map(ToString::to_string).collect();
            assert!(shown.contains(&format!("net/ipv4/conf/{name}/forwarding: 0 -> 1")), "{shown:?}");
            assert!(shown.contains(&format!("net/ipv6/conf/{name}/forwarding: 0 -> 1")), "{shown:?}");
            assert!(shown.contains(&format!("net/ipv6/conf/{name}/accept_ra: 1 -> 2")), "{shown:?}");
            assert!(sysctl::forwarding(name, Family::V4)? && sysctl::forwarding(name, Family::V6)?);
            assert_eq!(sysctl::enable_forwarding(name)?, []);
            sysctl::restore(&changes)?;
            assert!(!sysctl::forwarding(name, Family::V4)? && !sysctl::forwarding(name, Family::V6)?);
            assert_eq!(sysctl::accept_ra(name)?, 1);
            sysctl::set_accept_ra(name, before)?;
        }
        assert!(sysctl::set_accept_local("n0", true)?.is_some() && sysctl::accept_local("n0")?);
        assert!(sysctl::enable_forwarding("none0").is_err());
        anyhow::Ok(())
    })?
}

#[test]
fn forwarding_keeps_the_default_routes_that_routers_advertised() -> Result<()> {
    let pair = Pair::new()?;
    pair.node.ip("link add m0 type veth peer name m1")?;
    pair.node.ip("link set m1 up")?;
    pair.node.ip("link set m0 up")?;
    for name in ["n0", "m0"] {
        pair.node.sysctl(&format!("net/ipv6/conf/{name}/accept_ra"), "1")?;
    }
    // The node learns a default route on n0 the way it does in the field: from a router's advertisement.
    let advertisement = router_advertisement(&pair.peer)?;
    let learned = || pair.node.ip("-6 route show default proto ra");
    let deadline = Instant::now() + PATIENCE;
    while !learned()?.contains("default") {
        ensure!(Instant::now() < deadline, "no default route was learned");
        // Again, because an interface that has just come up may not listen yet.
        pair.peer.enter(|| send_frame("p0", &advertisement))??;
        std::thread::sleep(Duration::from_millis(20));
    }
    // It is m0 that starts to forward; without protection the kernel drops the route on n0.
    let changes = pair.node.enter(|| sysctl::enable_forwarding("m0"))??;
    assert!(learned()?.contains("default"), "the default route is gone after {changes:?}");
    assert_eq!(pair.node.enter(|| sysctl::accept_ra("n0"))??, 1);
    pair.node.enter(|| sysctl::enable_forwarding("n0"))??;
    assert!(learned()?.contains("default"));
    assert_eq!(pair.node.enter(|| sysctl::accept_ra("n0"))??, 2);
    Ok(())
}

/// A router advertisement from the peer's link-local address, with a lifetime of 1,800 s (RFC 4861 section 4.2).
fn router_advertisement(peer: &Namespace) -> Result<Vec<u8>> {
    let shown = peer.ip("-6 -o addr show dev p0 scope link")?;
    let source = shown.split_whitespace().find_map(|word| word.split('/').next()?.parse().ok());
    let source: std::net::Ipv6Addr = source.context("p0 has no link-local address")?;
    let all_nodes: std::net::Ipv6Addr = "ff02::1".parse()?;
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut pseudo = [source.octets(), all_nodes.octets()].concat();
    pseudo.extend([0, 0, 0, 16, 0, 0, 0, 58]);
    pseudo.extend(&message);
    let sum = pseudo.chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        (sum & 0xffff) + (sum >> 16)
    });
    message[2..4].copy_from_slice(&(!u16::try_from(sum)?).to_be_bytes());
    let mut frame = [&[0x33, 0x33, 0, 0, 0, 1][..], &PEER_MAC, &[0x86, 0xdd]].concat();
    frame.extend([0x60, 0, 0, 0, 0, 16, 58, 255]);
    frame.extend(source.octets());
    frame.extend(all_nodes.octets());
    frame.extend(message);
    Ok(frame)
}

fn send_frame(interface: &str, frame: &[u8]) -> Result<()> {
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let ifindex = rustix::net::netdevice::name_to_index(&socket, interface)?;
    let mut address = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    // SAFETY: all fields of sockaddr_ll are integers, for which zero bytes are a value.
    let address = unsafe { address.assume_init_mut() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_ifindex = i32::try_from(ifindex)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: frame and address outlive the call and are passed with their own lengths.
    let sent = unsafe {
        let address = (&raw const *address).cast();
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, length)
    };
    ensure!(sent > 0, "send: {}", std::io::Error::last_os_error());
    Ok(())
}

#[test]
fn an_announcement_is_seen_by_the_peer_and_believed() -> Result<()> {
    let pair = Pair::new()?;
    let capture = pair.peer.capture()?;
    let vips = ["10.77.0.80", "2001:db8:77::80"];
    // The peer remembers another owner of the VIPs.
    for vip in vips {
        pair.peer.ip(&format!("neigh add {vip} dev p0 lladdr 02:00:00:00:00:55 nud reachable"))?;
    }
    pair.node.block_on(|| async {
        let link = Netlink::open()?.link_by_name("n0").await?;
        for vip in vips {
            announce(&link, address(vip))?;
        }
        let loopback = Netlink::open()?.link_by_name("lo").await?;
        assert!(announce(&loopback, address(vips[0])).is_err());
        Ok(())
    })?;
    let arp = capture.wait_for(|frame| is_arp_request_for(frame, [10, 77, 0, 80]))?;
    assert_eq!(
        (&arp[..6], &arp[22..28], &arp[28..32]),
        (&[0xff; 6][..], &NODE_MAC[..], &[10, 77, 0, 80][..])
    );
    let is_advertisement =
        |frame: &[u8]| frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(54) == Some(&136);
    let advertisement = capture.wait_for(is_advertisement)?;
    assert_eq!((&advertisement[..6], &advertisement[80..86]), (&[0x33, 0x33, 0, 0, 0, 1][..], &NODE_MAC[..]));
    pair.peer.block_on(|| async {
        let netlink = Netlink::open()?;
        let ifindex = netlink.link_by_name("p0").await?.index;
        for vip in vips.map(address) {
            let deadline = Instant::now() + PATIENCE;
            while netlink.neighbour(NeighbourKey { ifindex, address: vip }).await?.mac != Some(NODE_MAC) {
                ensure!(Instant::now() < deadline, "the peer does not believe the announcement of {vip}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    })
}
