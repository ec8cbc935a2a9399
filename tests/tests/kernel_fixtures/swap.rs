//! Tables are swapped under load: whatever is free is filled with slots of a backend that no table has, so that a
//! packet which saw a mixture, or a region that was given away too early, is found there. Every other swap changes the
//! number of slots too: the start of one table with the length of the other would lead beyond its end.

use anyhow::{Context as _, ensure};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_common::abi::{Backend, BackendFlags, BackendIdentity, Slot, address};
use lb_tests::fixtures::{Protocol, Shape};
use lb_userspace::config;
use lb_userspace::dataplane::kernel::{KernelConfig, KernelDataplane, Layout, LogLevel};
use lb_userspace::dataplane::{Capacity, Dataplane as _, Observed, Op};
use lb_userspace::keeper::{Keeper, Now, Sight, Surroundings};
use lb_userspace::model::Model;
use lb_userspace::reconcile::{BackendName, Hop};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::bed::{Pinned, pin_directory};

/// Swaps in all.
const SWAPS: u32 = 1_000;
/// Threads that send packets.
const SENDERS: u8 = 2;
/// Packets of one test run: few, so that a swap's wait for readers is short.
const REPEAT: u32 = 2_000;
/// Slots of the pool's table, in turns.
const FEW_SLOTS: u32 = 251;
const MANY_SLOTS: u32 = 509;
/// Room for all tables; what is not in use is poisoned.
const CAPACITY: Capacity =
    Capacity { services: 4, backends: 64, slots: 4 * MANY_SLOTS, flows: 65_536, sessions: 64 };
/// Index of a backend that no table has.
const POISON: u32 = 63;
/// Interface that a test run receives on: loopback.
const INGRESS: u32 = 1;
/// `XDP_TX` (`enum xdp_action`, include/uapi/linux/bpf.h).
const XDP_TX: u32 = 3;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

fn server(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

/// A pool of two backends.
fn model(numbers: [u8; 2], slots: u32) -> anyhow::Result<Model> {
    let [first, second] = numbers.map(server);
    let text = format!(
        r#"
        [node]
        interfaces = ["lo"]
        [pools.web]
        mode = "dsr-l2"
        slots = {slots}
        backends = [{{ name = "a", address = "{first}" }}, {{ name = "b", address = "{second}" }}]
        [services.web]
        vips = ["{VIP}"]
        ports = [80]
        protocol = "tcp"
        pool = "web"
        "#
    );
    let parsed = config::parse(&text, Path::new("swap.toml"));
    Ok(parsed.map_err(|errors| anyhow::anyhow!("{errors}"))?.model)
}

/// Everybody is well and a neighbour.
struct Fine(Instant);

impl Surroundings for Fine {
    fn now(&self) -> Now {
        let monotonic_ms = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX) + 1;
        Now { instant: Instant::now(), monotonic_ms }
    }

    fn see(&self, model: &Model, _: &Observed) -> Sight {
        let hop = |number: u8| Hop {
            ifindex: INGRESS,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: Some([2, 0, 0, 0, 1, number]),
            mtu_bytes: 1500,
            preferred_source: None,
            gateway: false,
        };
        let names = model.pools.iter().flat_map(|(pool, value)| {
            value
                .backends
                .iter()
                .map(|backend| BackendName { pool: pool.clone(), name: backend.name.clone() })
        });
        Sight {
            healthy: names.collect(),
            hops: (1..=9).map(|number| (server(number), Some(hop(number)))).collect(),
            ..Sight::default()
        }
    }
}

/// Fills every slot that no service points to with the backend that no table has.
fn poison(dataplane: &mut KernelDataplane) -> anyhow::Result<()> {
    let live = dataplane.observe()?.tables;
    let mut offset = 0;
    for region in live.keys() {
        let slots = vec![Slot::stable(POISON); (region.offset - offset) as usize];
        dataplane.apply(&Op::WriteSlots { offset, slots })?;
        offset = region.offset + region.count;
    }
    let slots = vec![Slot::stable(POISON); (CAPACITY.slots - offset) as usize];
    Ok(dataplane.apply(&Op::WriteSlots { offset, slots })?)
}

fn poisoned_backend() -> Op {
    let backend = Backend {
        ethernet: [0x0909_0909; 3],
        ifindex: INGRESS,
        address: address(server(99)),
        flags: BackendFlags::VALID | BackendFlags::RESOLVED,
        mtu_bytes: 1500,
        ..bytemuck::Zeroable::zeroed()
    };
    Op::PutBackend { index: POISON, identity: BackendIdentity { identity: 1 }, backend }
}

/// Sends opening and other packets of ever new flows until told to stop, and counts them.
fn send(program: &Xdp, sender: u8, stop: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let [_, second, third, _] = number.to_be_bytes();
        let port = 1_024 + (number % 30_000) as u16;
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, sender, second, third)), port);
        let shape = Shape::new(Protocol::Tcp, source, SocketAddr::new(VIP, 80));
        let frame = if number.is_multiple_of(2) { shape.syn().bytes() } else { shape.bytes() };
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            repeat: REPEAT,
            ..TestRunOptions::default()
        };
        let result = program.test_run(options)?;
        ensure!(result.return_value == XDP_TX, "a packet was not forwarded: action {}", result.return_value);
        sent.fetch_add(u64::from(REPEAT), Ordering::Relaxed);
    }
    Ok(())
}

/// Another handle of the loaded program, for a thread of its own.
fn handle(dataplane: &mut KernelDataplane) -> anyhow::Result<Xdp> {
    let info = dataplane.program(Layout::Whole)?.info()?;
    Ok(Xdp::from_program_info(info, "lb_xdp".into(), XdpAttachType::Interface)?)
}

/// A thousand swaps between two tables that have no backend in common.
pub fn no_packet_goes_where_neither_table_leads() -> anyhow::Result<()> {
    let pins = Pinned(pin_directory());
    let config = KernelConfig { bpffs: pins.0.clone(), capacity: CAPACITY, log_level: LogLevel::Off };
    let mut dataplane = KernelDataplane::open(&config)?;
    let (mut keeper, around) = (Keeper::default(), Fine(Instant::now()));
    let tables = [
        model([1, 2], FEW_SLOTS)?,
        model([3, 4], FEW_SLOTS)?,
        model([1, 2], MANY_SLOTS)?,
        model([3, 4], MANY_SLOTS)?,
    ];
    dataplane.apply(&poisoned_backend())?;
    keeper.reconcile(&mut dataplane, &around, &tables[0])?;
    poison(&mut dataplane)?;
    let programs = (0..SENDERS).map(|_| handle(&mut dataplane)).collect::<anyhow::Result<Vec<_>>>()?;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..)
            .zip(&programs)
            .map(|(number, program)| {
                scope.spawn({
                    let (stop, sent) = (&stop, &sent);
                    move || send(program, number, stop, sent)
                })
            })
            .collect();
        let mut swap = || -> anyhow::Result<()> {
            for number in 1..=SWAPS {
                let next = &tables[number as usize % tables.len()];
                let operations = keeper.reconcile(&mut dataplane, &around, next)?;
                ensure!(operations > 0, "swap {number} changed nothing");
                poison(&mut dataplane)?;
                let lost = dataplane.backend_counters(POISON)?.packets;
                ensure!(lost == 0, "swap {number}: {lost} packets at a backend of neither table");
            }
            Ok(())
        };
        let swapped = swap();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        swapped
    })?;
    let sent = sent.load(Ordering::Relaxed);
    ensure!(sent > u64::from(SWAPS) * 100, "only {sent} packets: that is no load");
    let observed = dataplane.observe()?;
    let of = |number: u8| -> anyhow::Result<u64> {
        let wanted = address(server(number));
        let (index, _) = observed
            .backends
            .iter()
            .find(|(_, (_, entry))| entry.address == wanted)
            .with_context(|| format!("backend {number} is gone"))?;
        Ok(dataplane.backend_counters(*index)?.packets)
    };
    let shares = [of(1)?, of(2)?, of(3)?, of(4)?];
    ensure!(shares.iter().all(|share| *share > 0), "both tables were in force: {shares:?}");
    ensure!(shares.iter().sum::<u64>() == sent, "{shares:?} are not {sent}");
    ensure!(dataplane.backend_counters(POISON)?.packets == 0, "packets at a backend of neither table");
    Ok(())
}
