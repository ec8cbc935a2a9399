//! The pipeline's tables over the kernel's maps.

use crate::maps;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::{
    bindings::{bpf_fib_lookup, xdp_md},
    helpers::{bpf_fib_lookup as fib_lookup, bpf_ktime_get_coarse_ns},
};
use core::mem::MaybeUninit;
use lb_common::abi::{
    ADDRESS_BITS, Address, AnswerKind, Backend, FlowCell, FlowKey, FlowValue, FragmentKey, FragmentValue,
    Link, NetworkValue, PortsKey, RangeValue, Recorder, ReverseKey, ReverseRangeValue, ReverseValue,
    ServiceKey, ServiceValue, Session, SessionCell, Settings, Slot, place,
};
use lb_common::hash::HashKey;
use lb_common::tables::{NextHop, Put, Route, RouteAnswer, RouteQuestion, Tables, Traffic};

/// The maps of this program. There is one set; the context is what the FIB lookup asks for.
pub struct KernelTables {
    ctx: *mut xdp_md,
}

impl KernelTables {
    /// The tables as seen by the run with `ctx`, which must be the context that the kernel passed to it.
    #[inline(always)]
    pub const fn new(ctx: *mut xdp_md) -> Self {
        Self { ctx }
    }
}

/// Add an entry, and only if there is none (include/uapi/linux/bpf.h).
const BPF_NOEXIST: u64 = 1;
/// What that says if there is one (include/uapi/asm-generic/errno-base.h).
const EEXIST: i32 = -17;

/// Address family numbers of `bpf_fib_lookup` (AF_INET and AF_INET6).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Return codes of `bpf_fib_lookup` (`BPF_FIB_LKUP_RET_*`, include/uapi/linux/bpf.h).
mod answer {
    pub const SUCCESS: i64 = 0;
    pub const NOT_FORWARDED: i64 = 4;
    pub const NO_NEIGHBOUR: i64 = 7;
    pub const FRAGMENTATION_NEEDED: i64 = 8;
}

/// `struct bpf_fib_lookup` with both MACs (source, then destination) as aligned words: clearing or copying byte arrays
/// would become calls that loop over bytes.
#[repr(C, align(8))]
struct Fib {
    family: u8,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    total_length: u16,
    ifindex: u32,
    flow_info: u32,
    source: [u32; 4],
    destination: [u32; 4],
    table: u32,
    macs: [u32; 3],
}

const _: () = assert!(size_of::<Fib>() == size_of::<bpf_fib_lookup>());

/// Words of eight bytes in a [`Fib`].
const FIB_WORDS: usize = size_of::<Fib>() / 8;

impl Fib {
    /// Clears it, in place and by volatile stores of whole words: plain ones, or a copy of the cleared value, would be
    /// gathered into a call to memset.
    #[inline(always)]
    fn clear(fib: &mut MaybeUninit<Self>) -> &mut Self {
        let words = fib.as_mut_ptr().cast::<u64>();
        for at in 0..FIB_WORDS {
            // SAFETY: `at` is below the number of words, and the struct is 8-aligned.
            unsafe { words.add(at).write_volatile(0) };
        }
        // SAFETY: every byte was written, and zero is a value of every field.
        unsafe { fib.assume_init_mut() }
    }
}

/// Nanoseconds in a millisecond.
const NS_PER_MS: u64 = 1_000_000;

impl Tables for KernelTables {
    type Flow<'a> = &'a FlowCell;
    type Session<'a> = &'a SessionCell;
    type Fragment<'a> = &'a FragmentValue;

    #[inline(always)]
    fn hash_key(&self) -> HashKey {
        HashKey(maps::HASH_KEY_0.load(), maps::HASH_KEY_1.load())
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey, v4: bool) -> Option<&ServiceValue> {
        let word = place::port_and_protocol(key.port, key.protocol);
        let get = |index| maps::LB_SERVICES.get(index);
        let entry = place::find(key.address, word, v4, maps::SERVICE_MASK.load(), get)?;
        Some(&entry.value)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        let slot = maps::LB_SLOTS.get_ptr(index)?;
        // SAFETY: the map hands out a pointer to a whole, aligned value; the volatile read takes the word once, while
        // the agent may be storing a new one through shared memory.
        Some(unsafe { core::ptr::read_volatile(slot) })
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&Backend> {
        maps::LB_BACKENDS.get(index)
    }

    #[inline(always)]
    fn has_reverse(&self) -> bool {
        maps::LB_SETTINGS.get(0).is_some_and(|settings| settings.reverse_entries != 0)
    }

    #[inline(always)]
    fn reverse(&self, key: &ReverseKey, v4: bool) -> Option<&ReverseValue> {
        let word = place::port_and_protocol(key.port, key.protocol);
        let get = |index| maps::LB_REVERSE.get(index);
        let entry = place::find(key.address, word, v4, maps::REVERSE_MASK.load(), get)?;
        Some(&entry.value)
    }

    #[inline(always)]
    fn lookups(&self) -> u32 {
        maps::LB_SETTINGS.get(0).map_or(0, |settings| settings.lookups)
    }

    #[inline(always)]
    fn range(&self, key: &PortsKey) -> Option<&RangeValue> {
        maps::LB_RANGES.get(Key::new(PortsKey::BITS, *key))
    }

    #[inline(always)]
    fn network(&self, address: Address) -> Option<&NetworkValue> {
        maps::LB_NETWORKS.get(Key::new(ADDRESS_BITS, address))
    }

    #[inline(always)]
    fn reverse_range(&self, key: &PortsKey) -> Option<&ReverseRangeValue> {
        maps::LB_REV_RANGES.get(Key::new(PortsKey::BITS, *key))
    }

    #[inline(always)]
    fn link(&self, ifindex: u32) -> Option<&Link> {
        let link = maps::LB_LINKS.get_ptr(ifindex)?;
        // SAFETY: the map hands out a pointer to a whole value, which stays readable until the program run ends; only the
        // agent writes it.
        Some(unsafe { &*link })
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<&FragmentValue> {
        let value = maps::LB_FRAGMENTS.get_ptr(key)?;
        // SAFETY: as for links; an entry that is thrown out meanwhile may be another datagram's already, whose fragments
        // are then sent wrong once, as with any identification that is used again too soon.
        Some(unsafe { &*value })
    }

    #[inline(always)]
    fn put_fragment(&self, key: &FragmentKey, value: &FragmentValue) {
        let _ = maps::LB_FRAGMENTS.insert(key, value, 0);
    }

    #[inline(always)]
    fn session(&self, key: &FlowKey) -> Option<&SessionCell> {
        let cell = maps::LB_SESSIONS.get_ptr(key)?;
        // SAFETY: the map hands out a pointer to a whole value, aligned to eight bytes as all values of hash maps are, of
        // the same layout; its memory is not another entry's before the program run ends or the entry is one again.
        Some(unsafe { &*cell.cast::<SessionCell>() })
    }

    #[inline(always)]
    fn put_session(&self, key: &FlowKey, session: &Session) -> Put {
        match maps::LB_SESSIONS.insert(key, session, BPF_NOEXIST) {
            Ok(()) => Put::Done,
            Err(EEXIST) => Put::Taken,
            Err(_) => Put::Full,
        }
    }

    #[inline(always)]
    fn drop_session(&self, key: &FlowKey) {
        let _ = maps::LB_SESSIONS.remove(key);
    }

    #[inline(always)]
    fn snat(&self, index: u32) -> Option<Address> {
        maps::LB_SNAT.get(index).copied()
    }

    #[inline(always)]
    fn may_answer(&self, kind: AnswerKind) -> bool {
        let (Some(settings), Some(limiter)) = (maps::LB_SETTINGS.get(0), maps::LB_LIMITER.get_ptr_mut(0))
        else {
            return false;
        };
        // SAFETY: this CPU's own value of a per-CPU array; XDP programs are not preempted by one another on a CPU.
        unsafe { &mut *limiter }.take(kind, settings, self.now_ms())
    }

    #[inline(always)]
    fn route(&self, question: &RouteQuestion) -> Route {
        let mut room = MaybeUninit::uninit();
        let fib = Fib::clear(&mut room);
        fib.family = if question.v4 { AF_INET } else { AF_INET6 };
        fib.protocol = question.protocol;
        fib.total_length = question.length_bytes;
        fib.ifindex = question.ingress_ifindex;
        fib.source = fib_address(question.v4, question.source);
        fib.destination = fib_address(question.v4, question.destination);
        // SAFETY: the context is the running program's, and `fib` has the layout and size of bpf_fib_lookup.
        let code = unsafe {
            fib_lookup(self.ctx.cast(), core::ptr::from_mut(fib).cast(), size_of::<Fib>() as i32, 0)
        };
        let answer = match i64::from(code) {
            answer::SUCCESS => RouteAnswer::Found,
            answer::NO_NEIGHBOUR => RouteAnswer::NoNeighbour,
            answer::NOT_FORWARDED => RouteAnswer::ToNode,
            answer::FRAGMENTATION_NEEDED => RouteAnswer::TooBig,
            _ => RouteAnswer::None,
        };
        // Where a packet is too big the kernel puts the way's MTU here (5.12, commit 2c0a10af688c; before, it stays).
        let mtu_bytes = fib.total_length;
        Route { answer, hop: NextHop { ethernet: ethernet(fib), ifindex: fib.ifindex }, mtu_bytes }
    }

    #[inline(always)]
    fn now_ms(&self) -> u64 {
        // SAFETY: the helper takes nothing and reads a clock.
        unsafe { bpf_ktime_get_coarse_ns() / NS_PER_MS }
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&FlowCell> {
        let cell = maps::LB_FLOWS.get_ptr(key)?;
        // SAFETY: the map hands out a pointer to a whole value, aligned to eight bytes as all values of hash maps are; it
        // stays readable until the program run ends. An entry that is thrown out meanwhile may be another flow's already,
        // which then gets a stale word: docs/flows.md names that moment.
        Some(unsafe { &*cell.cast::<FlowCell>() })
    }

    #[inline(always)]
    fn record(&self, key: &FlowKey, value: &FlowValue) -> bool {
        maps::LB_FLOWS.insert(key, value, 0).is_ok()
    }

    #[inline(always)]
    fn with_recorder<R>(&self, work: impl FnOnce(&mut Recorder, &Settings) -> R) -> Option<R> {
        let settings = maps::LB_SETTINGS.get(0)?;
        let recorder = maps::LB_RECORDER.get_ptr_mut(0)?;
        // SAFETY: this CPU's own value of a per-CPU array; XDP programs are not preempted by one another on a CPU.
        Some(work(unsafe { &mut *recorder }, settings))
    }

    #[inline(always)]
    fn count_service(&self, index: u32, traffic: Traffic) {
        if let Some(counters) = maps::LB_SVC_COUNT.get_ptr_mut(index) {
            // SAFETY: this CPU's own value of a per-CPU array; XDP programs are not preempted by one another on a CPU.
            unsafe { (*counters).count(traffic.bytes, traffic.opens) };
        }
    }

    #[inline(always)]
    fn count_backend(&self, index: u32, traffic: Traffic) {
        if let Some(counters) = maps::LB_BK_COUNT.get_ptr_mut(index) {
            // SAFETY: as for services.
            unsafe { (*counters).count(traffic.bytes, traffic.opens) };
        }
    }

    #[inline(always)]
    fn count_reply(&self, service_index: u32, backend_index: u32, bytes: u32) {
        if let Some(counters) = maps::LB_SVC_COUNT.get_ptr_mut(service_index) {
            // SAFETY: as for services.
            unsafe { (*counters).count_reply(bytes) };
        }
        if let Some(counters) = maps::LB_BK_COUNT.get_ptr_mut(backend_index) {
            // SAFETY: as for services.
            unsafe { (*counters).count_reply(bytes) };
        }
    }

    #[inline(always)]
    fn count_verdict(&self, number: u8) {
        if let Some(packets) = maps::LB_VERDICTS.get_ptr_mut(u32::from(number)) {
            // SAFETY: as for services.
            unsafe { *packets += 1 };
        }
    }
}

/// An address as the FIB lookup takes it: IPv4 in the first word.
#[inline(always)]
fn fib_address(v4: bool, address: [u32; 4]) -> [u32; 4] {
    let [_, _, _, last] = address;
    if v4 { [last, 0, 0, 0] } else { address }
}

/// Destination and source MAC as they lie in a frame, on a little-endian machine.
#[inline(always)]
fn ethernet(fib: &Fib) -> [u32; 3] {
    let [a, b, c] = fib.macs;
    [(b >> 16) | (c << 16), (c >> 16) | (a << 16), (a >> 16) | (b << 16)]
}
