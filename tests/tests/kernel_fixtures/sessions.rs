//! `full-nat` in the kernel: as many sessions of one client through one address as the product promises, and again.

use super::bed::{Pinned, pin_directory};
use super::routes;
use anyhow::{Context as _, ensure};
use aya::maps::{Array, Map, MapData};
use aya::programs::{TestRun as _, TestRunOptions};
use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use lb_common::abi::{
    ABI_VERSION, AddressFlags, Backend, BackendFlags, BackendIdentity, DropReason, ForwardMode, Lookups,
    ServiceKey, ServiceValue, Settings, Slot, address, names,
};
use lb_tests::fixtures::{
    EGRESS, Family, INGRESS, NODE_MAC, Protocol, Reach, Shape, backend, client, neighbour_mac, vip, world,
};
use lb_userspace::config;
use lb_userspace::dataplane::kernel::{KernelConfig, KernelDataplane, Layout, LogLevel};
use lb_userspace::dataplane::{Capacity, Dataplane as _, Op};
use lb_userspace::model::Model;
use lb_userspace::sessions;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Sessions at once.
const SESSIONS: u16 = 50_000;
/// The client's first port.
const FIRST_PORT: u16 = 10_000;
/// Room for exactly that many.
const CAPACITY: Capacity =
    Capacity { services: 8, backends: 8, slots: 8, flows: 64, sessions: SESSIONS as u32 };
/// Where services and backends listen.
const PORT: u16 = 443;
const BACKEND_PORT: u16 = 8443;
/// Longer than a session that is opening may be idle.
const LATER_MS: u64 = 32_000;

/// XDP actions (`enum xdp_action`, include/uapi/linux/bpf.h).
const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// Places of a family.
#[derive(Clone, Copy)]
struct Places {
    family: Family,
    vip: SocketAddr,
    backend: SocketAddr,
    /// What is sent from.
    source: IpAddr,
}

impl Places {
    fn of(family: Family) -> Self {
        Self {
            family,
            vip: SocketAddr::new(vip(family), PORT),
            backend: SocketAddr::new(backend(family, 1), BACKEND_PORT),
            source: backend(family, 250),
        }
    }

    fn client(self, number: u16) -> SocketAddr {
        let mut client = client(self.family, Reach::Neighbour);
        client.set_port(FIRST_PORT + number);
        client
    }
}

/// Both MACs as [`Backend::ethernet`] holds them.
fn frame_addresses(destination: IpAddr) -> [u32; 3] {
    let mut bytes = [0; 12];
    bytes[..6].copy_from_slice(&neighbour_mac(destination));
    bytes[6..].copy_from_slice(&NODE_MAC);
    bytemuck::cast(bytes)
}

fn operations() -> Vec<Op> {
    let mut operations = vec![Op::PutDevice(EGRESS)];
    for (index, family) in (0_u16..).zip(Family::ALL) {
        let places = Places::of(family);
        let number = u32::from(index);
        let v6 = if places.vip.is_ipv6() { BackendFlags::V6 } else { 0 };
        let entry = Backend {
            ethernet: frame_addresses(places.backend.ip()),
            ifindex: INGRESS,
            address: address(places.backend.ip()),
            port: BACKEND_PORT.to_be(),
            flags: BackendFlags::VALID | BackendFlags::RESOLVED | v6,
            mtu_bytes: 1500,
            snat_first: index,
            snat_count: 1,
            ..bytemuck::Zeroable::zeroed()
        };
        let identity = BackendIdentity { identity: u64::from(index) + 1 };
        operations.push(Op::PutBackend { index: number, identity, backend: entry });
        operations.push(Op::WriteSlots { offset: number, slots: vec![Slot::stable(number)] });
        let service = ServiceValue {
            slot_offset: number,
            slot_count: 1,
            index: number,
            mode: ForwardMode::FullNat as u8,
            affinity: 0,
            zero: [0; 2],
        };
        let key = |ip, port: u16, protocol| ServiceKey {
            address: address(ip),
            port: port.to_be(),
            protocol,
            zero: 0,
        };
        operations.push(Op::PutService(key(places.vip.ip(), PORT, Protocol::Tcp.number()), service));
        let of_source = ServiceValue::of_address(AddressFlags::SNAT);
        operations.push(Op::PutService(key(places.source, 0, 0), of_source));
    }
    operations
}

/// Writes what has no operation: the addresses, and that they are worth a look.
fn write_addresses(bpffs: &Path) -> anyhow::Result<()> {
    type Words = [u64; size_of::<Settings>() / 8];
    let pin = |name| MapData::from_pin(bpffs.join(format!("v{ABI_VERSION}")).join(name));
    let mut addresses: Array<MapData, [u32; 4]> = Map::Array(pin(names::SNAT)?).try_into()?;
    for (index, family) in (0..).zip(Family::ALL) {
        addresses.set(index, address(Places::of(family).source), 0)?;
    }
    let mut settings: Array<MapData, Words> = Map::Array(pin(names::SETTINGS)?).try_into()?;
    let mut value: Settings = bytemuck::cast(settings.get(&0, 0)?);
    value.lookups |= Lookups::SESSIONS;
    settings.set(0, bytemuck::cast::<Settings, Words>(value), 0)?;
    Ok(())
}

/// A configuration that the maps are not of: sessions have the usual times.
fn model() -> anyhow::Result<Model> {
    let text = r#"
        [node]
        interfaces = ["lo"]
    "#;
    let parsed = config::parse(text, Path::new("sessions.toml"));
    Ok(parsed.map_err(|errors| anyhow::anyhow!("{errors}"))?.model)
}

/// The loaded program.
struct Bed {
    dataplane: KernelDataplane,
    model: Model,
    _pinned: Pinned,
}

impl Bed {
    fn new() -> anyhow::Result<Self> {
        let bpffs = pin_directory();
        let pinned = Pinned(bpffs.clone());
        let config = KernelConfig { bpffs: bpffs.clone(), capacity: CAPACITY, log_level: LogLevel::Off };
        let mut dataplane = KernelDataplane::open(&config)?;
        dataplane.program(Layout::Pieces)?;
        if let [(program, reason), ..] = dataplane.refused() {
            anyhow::bail!("the kernel refused {program}: {reason}");
        }
        routes::set_up(&world())?;
        for op in operations() {
            dataplane.apply(&op)?;
        }
        write_addresses(&bpffs)?;
        Ok(Self { dataplane, model: model()?, _pinned: pinned })
    }

    fn run(&mut self, frame: &[u8]) -> anyhow::Result<(u32, Vec<u8>)> {
        let mut out = vec![0; frame.len() + 64];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.dataplane.program(Layout::Whole)?.test_run(options)?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, out))
    }

    /// A packet of a client; returns where the backend sees it come from.
    fn request(&mut self, places: Places, shape: &Shape) -> anyhow::Result<SocketAddr> {
        let (action, frame) = self.run(&shape.bytes())?;
        ensure!(action == XDP_TX, "XDP action {action}");
        let source = source_of(&frame)?;
        ensure!(source.ip() == places.source, "from {source}");
        let expected = shape.clone().from(source).to(places.backend).routed().sent_to(places.backend.ip());
        ensure!(frame == expected.bytes(), "the frame is {frame:02x?}");
        Ok(source)
    }

    /// A backend's packet, which has to reach the client.
    fn reply(&mut self, places: Places, number: u16, source: SocketAddr) -> anyhow::Result<()> {
        let shape = Shape::new(Protocol::Tcp, places.backend, source).payload(b"reply");
        let (action, frame) = self.run(&shape.bytes())?;
        ensure!(action == XDP_REDIRECT, "XDP action {action} for {source}");
        let client = places.client(number);
        let expected = shape.from(places.vip).to(client).routed().sent_to(client.ip());
        ensure!(frame == expected.bytes(), "the frame is {frame:02x?}");
        Ok(())
    }

    /// Opens every session, and sends something each way.
    fn fill(&mut self, places: Places) -> anyhow::Result<()> {
        let mut sources = Vec::new();
        for number in 0..SESSIONS {
            let shape = Shape::new(Protocol::Tcp, places.client(number), places.vip).syn();
            sources.push(self.request(places, &shape).with_context(|| format!("session {number}"))?);
        }
        let distinct = sources.iter().collect::<BTreeSet<_>>().len();
        ensure!(distinct == usize::from(SESSIONS), "{distinct} distinct sources");
        for (number, source) in (0..).zip(&sources) {
            self.reply(places, number, *source)?;
            let shape = Shape::new(Protocol::Tcp, places.client(number), places.vip);
            ensure!(self.request(places, &shape)? == *source, "session {number} changed its port");
        }
        Ok(())
    }

    /// One more finds no room.
    fn overflow(&mut self, places: Places) -> anyhow::Result<()> {
        let dropped = |bed: &Self| -> anyhow::Result<u64> {
            let verdicts = bed.dataplane.verdicts()?;
            Ok(verdicts.get(&DropReason::SessionsFull.number()).copied().unwrap_or(0))
        };
        let before = dropped(self)?;
        let shape = Shape::new(Protocol::Tcp, places.client(SESSIONS), places.vip).syn();
        let (action, _) = self.run(&shape.bytes())?;
        ensure!(action == XDP_DROP, "XDP action {action}");
        ensure!(dropped(self)? == before + 1, "it is counted");
        Ok(())
    }

    fn sweep(&mut self, after_ms: u64) -> anyhow::Result<sessions::SessionCount> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ms = u64::try_from(now.tv_sec)? * 1_000 + after_ms;
        let mut sweep = sessions::Sweep::begin(now_ms, false);
        loop {
            if let Some(count) = sweep.turn(&mut self.dataplane, &self.model, now_ms)? {
                return Ok(count);
            }
        }
    }

    fn end(&mut self, after_ms: u64) -> anyhow::Result<()> {
        let count = self.sweep(0)?;
        ensure!(count.sessions == u64::from(SESSIONS) && count.over == 0, "{count:?}");
        let count = self.sweep(after_ms)?;
        ensure!(count.sessions == 0 && count.over == u64::from(SESSIONS), "{count:?}");
        let mut page = self.dataplane.sessions_from(None)?;
        while page.entries.is_empty() && page.next.is_some() {
            page = self.dataplane.sessions_from(page.next)?;
        }
        ensure!(page.entries.is_empty(), "entries are left: {:?}", page.entries);
        Ok(())
    }
}

fn source_of(frame: &[u8]) -> anyhow::Result<SocketAddr> {
    let packet = PacketHeaders::from_ethernet_slice(frame)?;
    let ip = match packet.net.context("an IP header")? {
        NetHeaders::Ipv4(ip, _) => IpAddr::from(ip.source),
        NetHeaders::Ipv6(ip, _) => IpAddr::from(ip.source),
        NetHeaders::Arp(_) => anyhow::bail!("ARP"),
    };
    match packet.transport {
        Some(TransportHeader::Tcp(header)) => Ok(SocketAddr::new(ip, header.source_port)),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Fifty thousand sessions of one client through one address: no two share a port, one more finds no room, all of them end,
/// and as many come again.
pub fn fifty_thousand_sessions_come_go_and_come_again() -> anyhow::Result<()> {
    let mut bed = Bed::new()?;
    // Established sessions go after the usual `flow_timeout`; those that only opened, sooner.
    let established_ms = 352_000;
    for family in Family::ALL {
        let places = Places::of(family);
        bed.fill(places)?;
        bed.overflow(places)?;
        bed.end(established_ms)?;
        for number in 0..SESSIONS {
            let shape = Shape::new(Protocol::Tcp, places.client(number), places.vip).syn();
            bed.request(places, &shape).with_context(|| format!("session {number}, again"))?;
        }
        bed.end(LATER_MS)?;
    }
    Ok(())
}
