//! What the agent knows of the flow table: the last count, and the sums that the kernel does not keep.

use crate::phases::Census;
use fnv::FnvHashMap;
use lb_common::abi::FlowCounters;

/// What was last seen of the flow table.
#[derive(Debug, Default)]
pub struct FlowBook {
    /// Entries in use.
    pub entries: u64,
    /// Live flows by backend index.
    pub flows: FnvHashMap<u32, u64>,
    /// What became of flows.
    pub counters: FlowCounters,
    /// When the last count began, in milliseconds of the monotonic clock.
    pub counted_ms: Option<u64>,
    /// Entries that the kernel threw out, as far as this agent saw.
    pub evicted: u64,
    /// Entries that the agent took out.
    deleted: u64,
    /// Recorded so far and present, when the agent looked first.
    first: Option<(u64, u64)>,
}

impl FlowBook {
    /// Notes a count that began at `counted_ms`, with which the agent took out the entries that were over. What was recorded
    /// was read before it, so that what is recorded meanwhile makes nobody missing.
    pub fn note(&mut self, counters: FlowCounters, census: &Census, counted_ms: u64) {
        let (recorded, present) = *self.first.get_or_insert((counters.recorded, census.entries));
        let come = counters.recorded.saturating_sub(recorded) + present;
        let missing = come.saturating_sub(self.deleted + census.entries);
        self.evicted = self.evicted.max(missing);
        self.deleted += census.over;
        self.entries = census.entries.saturating_sub(census.over);
        self.counted_ms = Some(counted_ms);
        self.flows.clone_from(&census.flows);
        self.counters = counters;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neither_stayed_nor_was_taken_out_was_evicted() {
        let mut book = FlowBook::default();
        let counters = |recorded| FlowCounters { recorded, ..FlowCounters::default() };
        let census = |entries, over| Census { entries, over, ..Census::default() };
        book.note(counters(500), &census(20, 0), 1);
        assert_eq!((book.entries, book.evicted), (20, 0), "what an earlier agent took out is not known");
        book.note(counters(600), &census(120, 50), 1);
        assert_eq!((book.entries, book.evicted), (70, 0));
        book.note(counters(700), &census(130, 0), 1);
        assert_eq!((book.entries, book.evicted), (130, 40));
    }
}
