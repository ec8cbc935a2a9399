//! The maps. Names and types are those of `lb_common::abi`; sizes here are placeholders that the loader sets.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, xdp_action},
    macros::map,
    maps::{Array, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray},
};
use lb_common::abi::{
    Address, Backend, BackendCounters, BackendIdentity, FRAGMENTS, FlowKey, FlowValue, FragmentKey,
    FragmentValue, Limiter, Link, NetworkValue, PortsKey, RangeValue, Recorder, ReverseEntry,
    ReverseRangeValue, ServiceCounters, ServiceEntry, Session, Settings, Slot, VERDICT_NUMBERS,
};
use lb_common::pipeline::{Stage, Work};

/// Entries of a map until the loader sets the configured size.
const SIZED_BY_LOADER: u32 = 1;
/// Interfaces that can be redirected to.
const DEVICES: u32 = 256;

#[map]
pub static LB_SERVICES: Array<ServiceEntry> = Array::with_max_entries(SIZED_BY_LOADER, BPF_F_MMAPABLE);
#[map]
pub static LB_SLOTS: Array<Slot> = Array::with_max_entries(SIZED_BY_LOADER, BPF_F_MMAPABLE);
#[map]
pub static LB_BACKENDS: Array<Backend> = Array::with_max_entries(SIZED_BY_LOADER, BPF_F_MMAPABLE);
#[map]
pub static LB_IDENTITIES: Array<BackendIdentity> = Array::with_max_entries(SIZED_BY_LOADER, BPF_F_MMAPABLE);
#[map]
pub static LB_REVERSE: Array<ReverseEntry> = Array::with_max_entries(SIZED_BY_LOADER, BPF_F_MMAPABLE);
#[map]
pub static LB_SVC_COUNT: PerCpuArray<ServiceCounters> = PerCpuArray::with_max_entries(SIZED_BY_LOADER, 0);
#[map]
pub static LB_BK_COUNT: PerCpuArray<BackendCounters> = PerCpuArray::with_max_entries(SIZED_BY_LOADER, 0);
#[map]
pub static LB_VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(VERDICT_NUMBERS, 0);
#[map]
pub static LB_DEVICES: DevMapHash = DevMapHash::with_max_entries(DEVICES, 0);
#[map]
pub static LB_SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

#[map]
pub static LB_FLOWS: LruHashMap<FlowKey, FlowValue> = LruHashMap::with_max_entries(SIZED_BY_LOADER, 0);
#[map]
pub static LB_RECORDER: PerCpuArray<Recorder> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static LB_RANGES: LpmTrie<PortsKey, RangeValue> =
    LpmTrie::with_max_entries(SIZED_BY_LOADER, BPF_F_NO_PREALLOC);
#[map]
pub static LB_NETWORKS: LpmTrie<Address, NetworkValue> =
    LpmTrie::with_max_entries(SIZED_BY_LOADER, BPF_F_NO_PREALLOC);
#[map]
pub static LB_REV_RANGES: LpmTrie<PortsKey, ReverseRangeValue> =
    LpmTrie::with_max_entries(SIZED_BY_LOADER, BPF_F_NO_PREALLOC);
#[map]
pub static LB_LINKS: HashMap<u32, Link> = HashMap::with_max_entries(DEVICES, 0);
#[map]
pub static LB_FRAGMENTS: LruHashMap<FragmentKey, FragmentValue> = LruHashMap::with_max_entries(FRAGMENTS, 0);
// Sessions take memory as they come: most nodes have none.
#[map]
pub static LB_SESSIONS: HashMap<FlowKey, Session> =
    HashMap::with_max_entries(SIZED_BY_LOADER, BPF_F_NO_PREALLOC);
#[map]
pub static LB_SNAT: Array<Address> = Array::with_max_entries(SIZED_BY_LOADER, BPF_F_MMAPABLE);
#[map]
pub static LB_LIMITER: PerCpuArray<Limiter> = PerCpuArray::with_max_entries(1, 0);

/// What the programs of one packet hand on to each other.
#[map]
pub static LB_WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);
/// The programs behind the first one.
#[map]
pub static LB_STAGES: ProgramArray = ProgramArray::with_max_entries(Stage::ALL.len() as u32, 0);

/// First half of the flow hash's key; the loader sets it.
#[unsafe(no_mangle)]
pub static HASH_KEY_0: Global<u64> = Global::new(0);
/// Second half of the flow hash's key; the loader sets it.
#[unsafe(no_mangle)]
pub static HASH_KEY_1: Global<u64> = Global::new(0);

/// Places of the service table, less one; the loader sets it.
#[unsafe(no_mangle)]
pub static SERVICE_MASK: Global<u32> = Global::new(0);
/// Places of the reverse table, less one; the loader sets it.
#[unsafe(no_mangle)]
pub static REVERSE_MASK: Global<u32> = Global::new(0);

/// Redirects to an interface. One that is not in the map drops the packet, which the kernel counts.
#[inline(always)]
pub fn redirect(ifindex: u32) -> u32 {
    match LB_DEVICES.redirect(ifindex, u64::from(xdp_action::XDP_DROP)) {
        Ok(action) | Err(action) => action,
    }
}
