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

/// Every map that is pinned.
pub const PINNED: [&str; 12] = [
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
];

/// The XDP program.
pub const PROGRAM: &str = "lb_xdp";
/// Global with the first half of the flow hash's key.
pub const HASH_KEY_0: &str = "HASH_KEY_0";
/// Global with the second half of the flow hash's key.
pub const HASH_KEY_1: &str = "HASH_KEY_1";
/// Global with the number of places of the service table, less one.
pub const SERVICE_MASK: &str = "SERVICE_MASK";
/// Global with the number of places of the reverse table, less one.
pub const REVERSE_MASK: &str = "REVERSE_MASK";
