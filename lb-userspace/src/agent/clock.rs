//! The clock that the datapath stamps flows with.

/// CLOCK_MONOTONIC in milliseconds; `bpf_ktime_get_coarse_ns` is the same clock, a tick behind.
pub fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000 + nanoseconds / 1_000_000
}
