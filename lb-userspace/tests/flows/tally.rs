//! What sequences did, over all of them: a test that excludes everything, or meets nothing, proves nothing.

use std::ops::AddAssign;

/// Counts over sequences.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sequences: u64,
    /// Packets of flows that were promised to stay, and did.
    pub kept: u64,
    /// Those of them whose slot sends new flows elsewhere.
    pub kept_by_memory: u64,
    /// Packets of flows that nothing was promised of.
    pub unpromised: u64,
    /// New connections.
    pub opened: u64,
    /// Those of them that were not recorded, and went to a backend that takes no new flows.
    pub refused_openings: u64,
    /// Packets that were not recorded.
    pub refusals: u64,
    /// Entries thrown out of full tables.
    pub evictions: u64,
    /// Those of them that belonged to a flow of the model, which is promised nothing until its next packet.
    pub evicted_flows: u64,
    /// Flows that came back to life between the count that found them over and the end of their entry.
    pub forgotten_amid: u64,
    /// Changes of one of several backends whose moves were measured.
    pub single_changes: u64,
}

impl Tally {
    /// A packet went where it was promised to.
    pub fn promised(&mut self, by_memory: bool) {
        self.kept += 1;
        self.kept_by_memory += u64::from(by_memory);
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.kept += other.kept;
        self.kept_by_memory += other.kept_by_memory;
        self.unpromised += other.unpromised;
        self.opened += other.opened;
        self.refused_openings += other.refused_openings;
        self.refusals += other.refusals;
        self.evictions += other.evictions;
        self.evicted_flows += other.evicted_flows;
        self.forgotten_amid += other.forgotten_amid;
        self.single_changes += other.single_changes;
    }
}
