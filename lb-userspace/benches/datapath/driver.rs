//! One case: maps with a service and its backends, the program under test, and the driver.

use crate::cases::Case;
use crate::target::Target;
use anyhow::Context as _;
use aya::maps::ProgramArray;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{
    Backend, BackendFlags, FlowKey, ForwardMode, Phase, ServiceKey, ServiceValue, Session, SessionSeen,
    SessionState, SessionWay, Slot, address, mapped,
};
use lb_common::maglev::{self, Member};
use lb_common::pipeline::tunnel;
use rustix::time::{ClockId, clock_gettime};
use std::net::IpAddr;
use std::time::Duration;

static DRIVER: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-bench-driver.o"));

/// Packets of one sample.
const REPEAT: u32 = 400_000;
/// Backends of the pool.
const BACKENDS: u32 = 100;
/// Slots of its table.
const SLOTS: u32 = 16_381;
/// Interface that `BPF_PROG_TEST_RUN` pretends to receive on: the loopback interface.
const INGRESS: u32 = 1;
/// What a forwarded packet is answered with.
const XDP_TX: u32 = 3;
/// Port of the service.
const PORT: u16 = 80;

/// A prepared case.
pub struct Bench {
    driver: Ebpf,
    /// The present datapath, and the one to compare it with.
    targets: Vec<Target>,
    jump: ProgramArray<aya::maps::MapData>,
    frame: Vec<u8>,
}

impl Bench {
    /// Loads the programs and fills the maps. `objects` are builds of the datapath.
    pub fn new(case: &Case, objects: &[&[u8]]) -> anyhow::Result<Self> {
        let vip: IpAddr = if case.v6 { "2001:db8::1".parse()? } else { "203.0.113.10".parse()? };
        let frame = frame(case.v6);
        let mut driver = EbpfLoader::new()
            .override_global("FLOW_MASK", &(case.flows - 1), true)
            .override_global("FRAME_BYTES", &u32::try_from(frame.len())?, true)
            .override_global("GROWTH_BYTES", &growth_bytes(case), true)
            .override_global("IPV6", &u32::from(case.v6), true)
            .override_global("VIP", &address(vip)[3], true)
            .override_global("PORT", &u32::from(PORT.to_be()), true)
            .load(DRIVER)?;
        for name in ["bench_driver", "bench_floor"] {
            program(&mut driver, name)?.load()?;
        }
        let jump = ProgramArray::try_from(driver.take_map("TARGET").context("the driver has no TARGET")?)?;
        let mut bench = Self { driver, targets: Vec::new(), jump, frame };
        for object in objects {
            bench.add_target(case, object)?;
        }
        Ok(bench)
    }

    fn add_target(&mut self, case: &Case, object: &[u8]) -> anyhow::Result<()> {
        let mut target = Target::load(object)?;
        fill(&mut target, case)?;
        self.targets.push(target);
        if case.phase == Phase::Stable {
            return Ok(());
        }
        // While slots learn, flows that are not known are recorded: one round is enough.
        let at = self.targets.len() - 1;
        self.put_phase(at, Phase::Learning)?;
        for _ in 0..=case.flows / REPEAT {
            self.target_ns(at)?;
        }
        self.put_phase(at, case.phase)
    }

    fn put_phase(&mut self, at: usize, phase: Phase) -> anyhow::Result<()> {
        let slots: Vec<Slot> =
            owners().into_iter().map(|owner| Slot::new(owner, (owner + 1) % BACKENDS, phase)).collect();
        self.targets.get_mut(at).context("no such target")?.put_slots(&slots)
    }

    /// ns per packet of the driver with a target that only transmits.
    pub fn floor_ns(&mut self) -> anyhow::Result<f64> {
        let floor = program(&mut self.driver, "bench_floor")?.fd()?.try_clone()?;
        self.jump.set(0, &floor, 0)?;
        self.run()
    }

    /// ns per packet of the driver with that datapath.
    pub fn target_ns(&mut self, at: usize) -> anyhow::Result<f64> {
        let target = self.targets.get_mut(at).context("no such target")?.fd()?;
        self.jump.set(0, &target, 0)?;
        self.run()
    }

    fn run(&mut self) -> anyhow::Result<f64> {
        let frame = self.frame.clone();
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            repeat: REPEAT,
            ..TestRunOptions::default()
        };
        let began = cpu_time();
        let result = program(&mut self.driver, "bench_driver")?.test_run(options)?;
        let elapsed = cpu_time().saturating_sub(began);
        anyhow::ensure!(
            result.return_value == XDP_TX,
            "the program under test answered {} instead of XDP_TX: it did not forward",
            result.return_value
        );
        // The kernel's own figure has whole nanoseconds only, and counts the time of whoever else had the CPU meanwhile.
        // What the call adds is spread over all packets.
        Ok(elapsed.as_secs_f64() * 1e9 / f64::from(REPEAT))
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn program<'a>(driver: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    Ok(driver.program_mut(name).context("a program is missing from the driver")?.try_into()?)
}

/// What the mode puts in front of a frame.
fn growth_bytes(case: &Case) -> u32 {
    let outer = if case.v6 == case.crossed { 20 } else { 40 };
    match case.number {
        ForwardMode::DsrIpip => outer,
        ForwardMode::DsrGue => outer + 8,
        ForwardMode::Nat | ForwardMode::DsrL2 | ForwardMode::FullNat => 0,
    }
}

/// Who has the slots.
fn owners() -> Vec<u32> {
    let members: Vec<Member> =
        (0..BACKENDS).map(|index| Member { identity: u64::from(index) + 1, index, weight: 100 }).collect();
    maglev::build(&members, SLOTS)
}

/// The maps: one service, its pool's table and backends.
fn fill(target: &mut Target, case: &Case) -> anyhow::Result<()> {
    let slots: Vec<Slot> = owners().into_iter().map(Slot::stable).collect();
    target.put_slots(&slots)?;
    for index in 0..BACKENDS {
        target.put_backend(index, backend(case, index))?;
    }
    let vip: IpAddr =
        if case.v6 { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() } else { [203, 0, 113, 10].into() };
    let key = ServiceKey { address: address(vip), port: PORT.to_be(), protocol: 6, zero: 0 };
    let value = ServiceValue {
        slot_offset: 0,
        slot_count: SLOTS,
        index: 0,
        mode: case.number as u8,
        affinity: 0,
        zero: [0; 2],
    };
    target.put_service(key, value, !case.v6)?;
    if case.number == ForwardMode::FullNat {
        put_sessions(target, case, vip)?;
    }
    // A site with nat pools has reverse entries, so the question is asked of every packet that meets no service.
    target.put_settings(BACKENDS)
}

/// A session for every flow, as if its SYN had come.
fn put_sessions(target: &mut Target, case: &Case, vip: IpAddr) -> anyhow::Result<()> {
    for flow in 0..case.flows {
        let client = (CLIENTS | flow).to_be();
        let index = flow % BACKENDS;
        let backend = backend(case, index);
        // The driver writes the first word of an IPv6 source, and the frame has the rest.
        let source = if case.v6 { source_v6(client) } else { mapped(client) };
        let key = FlowKey {
            source,
            destination: address(vip),
            source_port: CLIENT_PORT.to_be(),
            destination_port: PORT.to_be(),
            protocol: 6,
        };
        let [_, _, high, low] = flow.to_be_bytes();
        let way = SessionWay {
            source: backend.tunnel_source,
            destination: backend.address,
            source_port: u16::from_ne_bytes([high, low]),
            destination_port: backend.port,
            service_index: 0,
            backend_index: index,
            reply: 0,
        };
        let seen = SessionSeen::new(SessionState::Established, 0);
        target.put_session(key, Session { way, seen })?;
    }
    Ok(())
}

/// Client addresses start here, as in the driver.
const CLIENTS: u32 = 0x0a00_0000;
/// The client's port in every frame.
const CLIENT_PORT: u16 = 40_000;

/// The driver's IPv6 source of a flow: its last word.
fn source_v6(client: u32) -> lb_common::abi::Address {
    let IpAddr::V6(plain) = IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 2]) else { return mapped(client) };
    let [a, b, c, _] = address(plain.into());
    [a, b, c, client]
}

fn backend(case: &Case, index: u32) -> Backend {
    let v6 = case.v6 != case.crossed;
    let (server, node): (IpAddr, IpAddr) = if v6 {
        let last = u16::try_from(index + 16).unwrap_or(u16::MAX);
        ([0x2001, 0xdb8, 1, 0, 0, 0, 0, last].into(), [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into())
    } else {
        let [_, _, _, last] = (index + 16).to_be_bytes();
        ([10, 200, 0, last].into(), [10, 200, 0, 1].into())
    };
    let ([_, _, _, source], [_, _, _, destination]) = (address(node), address(server));
    Backend {
        ethernet: [0x0100_0002, 0x0002_0000 | index, 0x0200_0000],
        ifindex: INGRESS,
        address: if v6 { address(server) } else { mapped(destination) },
        tunnel_source: address(node),
        port: match case.number {
            ForwardMode::Nat | ForwardMode::FullNat => 8080_u16.to_be(),
            ForwardMode::DsrGue => 6080_u16.to_be(),
            ForwardMode::DsrL2 | ForwardMode::DsrIpip => 0,
        },
        flags: BackendFlags::VALID | BackendFlags::RESOLVED | if v6 { BackendFlags::V6 } else { 0 },
        mtu_bytes: 1500,
        outer_sum: if v6 { 0 } else { tunnel::ipip_sum(source, destination) },
        tunnel_vary: 0,
        snat_first: 0,
        snat_count: 0,
    }
}

/// A TCP segment without payload, padded as small frames are; the driver writes what varies.
fn frame(v6: bool) -> Vec<u8> {
    let mut frame = vec![2; 12];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
        frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0x12, 0x34]);
        frame.extend([10, 0, 0, 1, 203, 0, 113, 10]);
    }
    frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x10, 0, 0x12, 0x34, 0, 0]);
    if !v6 {
        frame.extend([0; 20]);
    }
    frame
}
