//! What the agent knows of the session table: the last count, and the sums that the kernel does not keep.

use super::SessionCount;

/// What was last seen of the session table.
#[derive(Debug, Default)]
pub struct SessionBook {
    /// The last count.
    pub count: SessionCount,
    /// Sessions that ended by being idle, or with their backend, since the agent started.
    pub expired: u64,
    /// When the last count began, in milliseconds of the monotonic clock.
    pub counted_ms: Option<u64>,
}

impl SessionBook {
    /// Notes a count that began at `counted_ms`.
    pub fn note(&mut self, count: SessionCount, counted_ms: u64) {
        self.expired += count.over;
        self.counted_ms = Some(counted_ms);
        self.count = count;
    }

    /// Whether the table is known to be empty: nothing was in it at the last look.
    pub const fn is_empty(&self) -> bool {
        self.counted_ms.is_some()
            && self.count.sessions == 0
            && self.count.orphans == 0
            && self.count.over == 0
    }
}
