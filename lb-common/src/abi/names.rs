//! Names of maps and programs, at most 15 characters long (`BPF_OBJ_NAME_LEN`).
//!
//! Always holds: the statics in lb-ebpf carry the same names; the loader looks them up here.

/// `ServiceEntry` by place (see `place`), array, mmapable.
pub const SERVICES: &str = "LB_SERVICES";
/// Index to `Slot`, array, mmapable: the slot tables of all pools.
pub const SLOTS: &str = "LB_SLOTS";
/// Index to `Backend`, array, mmapable.
pub const BACKENDS: &str = "LB_BACKENDS";
/// Index to `BackendIdentity`, array, mmapable; read and written by the agent only.
pub const IDENTITIES: &str = "LB_IDENTITIES";
/// `ReverseEntry` by place (see `place`), array, mmapable.
pub const REVERSE: &str = "LB_REVERSE";
/// Service index to `ServiceCounters`, per-CPU array.
pub const SERVICE_COUNTERS: &str = "LB_SVC_COUNT";
/// Backend index to `BackendCounters`, per-CPU array.
pub const BACKEND_COUNTERS: &str = "LB_BK_COUNT";
/// Verdict number to packets (u64), per-CPU array.
pub const VERDICTS: &str = "LB_VERDICTS";
/// Interface index to interface index, devmap hash: where packets may be redirected to.
pub const DEVICES: &str = "LB_DEVICES";
/// One `Settings`, array.
pub const SETTINGS: &str = "LB_SETTINGS";

/// `FlowKey` to `FlowValue`, LRU hash: flows whose slots changed hands.
pub const FLOWS: &str = "LB_FLOWS";
/// One `Recorder`, per-CPU array.
pub const RECORDER: &str = "LB_RECORDER";

/// `PortsKey` to `RangeValue`, longest prefix: frontends of ranges of ports.
pub const RANGES: &str = "LB_RANGES";
/// Address to `NetworkValue`, longest prefix: VIPs that are whole networks.
pub const NETWORKS: &str = "LB_NETWORKS";
/// `PortsKey` to `ReverseRangeValue`, longest prefix: the return path of frontends of any port or of ranges.
pub const REVERSE_RANGES: &str = "LB_REV_RANGES";
/// Interface index to `Link`, hash: VLAN interfaces.
pub const LINKS: &str = "LB_LINKS";
/// `FragmentKey` to `FragmentValue`, LRU hash.
pub const FRAGMENTS: &str = "LB_FRAGMENTS";
/// `FlowKey` to `Session`, hash: sessions of `full-nat`, two entries each.
pub const SESSIONS: &str = "LB_SESSIONS";
/// Index to `Address`, array: what `full-nat` sends from.
pub const SNAT: &str = "LB_SNAT";
/// One `Limiter`, per-CPU array.
pub const LIMITER: &str = "LB_LIMITER";

/// Every map that is pinned and shared by all programs that ever run.
pub const PINNED: [&str; 20] = [
    SERVICES,
    SLOTS,
    BACKENDS,
    IDENTITIES,
    REVERSE,
    SERVICE_COUNTERS,
    BACKEND_COUNTERS,
    VERDICTS,
    DEVICES,
    SETTINGS,
    FLOWS,
    RECORDER,
    RANGES,
    NETWORKS,
    REVERSE_RANGES,
    LINKS,
    FRAGMENTS,
    SESSIONS,
    SNAT,
    LIMITER,
];

/// Stage number to program: where the fast path hands packets on. Pinned for each set of programs: see `stages`.
pub const STAGES: &str = "LB_STAGES";

/// The XDP program that is attached.
pub const PROGRAM: &str = "lb_xdp";
/// The programs behind it, by [`crate::pipeline::Stage`] number.
pub const STAGE_PROGRAMS: [&str; 5] = ["lb_examine", "lb_deliver", "lb_session", "lb_icmp", "lb_answer"];
/// Global with the first half of the flow hash's key.
pub const HASH_KEY_0: &str = "HASH_KEY_0";
/// Global with the second half of the flow hash's key.
pub const HASH_KEY_1: &str = "HASH_KEY_1";
/// Global with the number of places of the service table, less one.
pub const SERVICE_MASK: &str = "SERVICE_MASK";
/// Global with the number of places of the reverse table, less one.
pub const REVERSE_MASK: &str = "REVERSE_MASK";
