//! How much may be recorded: a budget for each CPU, so that a flood cannot fill the flow table.

use super::Settings;
use super::limiter::take;
use bytemuck::{Pod, Zeroable};

/// Why a flow is to be recorded. Each kind has a budget of its own, so that a flood of one leaves the others alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RecordKind {
    /// A SYN: anyone can send those, from any address.
    Opening = 0,
    /// A packet of a TCP connection that exists already.
    Established = 1,
    /// UDP.
    Udp = 2,
}

/// Number of [`RecordKind`]s.
pub const RECORD_KINDS: usize = 3;

/// What may be recorded; a number in [`Settings::recording`]. The agent lowers it as the table fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Recording {
    /// Everything that the budgets allow.
    #[default]
    All = 0,
    /// Connections that exist already, and nothing that anyone could open.
    EstablishedOnly = 1,
    /// Nothing: the table is all but full.
    Nothing = 2,
}

/// What became of flows; one CPU's share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowCounters {
    /// Flows that were recorded.
    pub recorded: u64,
    /// Packets whose flow was found.
    pub hits: u64,
    /// Packets whose flow was not recorded, by [`RecordKind`].
    pub refused: [u64; RECORD_KINDS],
}

impl FlowCounters {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut refused = self.refused;
        for (sum, more) in refused.iter_mut().zip(other.refused) {
            *sum = sum.wrapping_add(more);
        }
        Self {
            recorded: self.recorded.wrapping_add(other.recorded),
            hits: self.hits.wrapping_add(other.hits),
            refused,
        }
    }

    /// Refusals of one kind.
    pub const fn refusals(&self, kind: RecordKind) -> u64 {
        let [opening, established, udp] = self.refused;
        match kind {
            RecordKind::Opening => opening,
            RecordKind::Established => established,
            RecordKind::Udp => udp,
        }
    }

    /// The same, to count on.
    #[inline(always)]
    pub fn refused(&mut self, kind: RecordKind) -> &mut u64 {
        let [opening, established, udp] = &mut self.refused;
        match kind {
            RecordKind::Opening => opening,
            RecordKind::Established => established,
            RecordKind::Udp => udp,
        }
    }
}

/// A CPU's budgets and counters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Recorder {
    /// What happened on this CPU.
    pub counters: FlowCounters,
    /// When the budgets were filled up last, in milliseconds of the monotonic clock, by [`RecordKind`].
    filled_ms: [u64; RECORD_KINDS],
    /// What is left, in thousandths of a flow, by [`RecordKind`].
    left: [u64; RECORD_KINDS],
}

impl Recorder {
    /// Takes one flow of `kind` off the budget; false if there is none left.
    #[inline(always)]
    pub fn take(&mut self, kind: RecordKind, settings: &Settings, now_ms: u64) -> bool {
        let allowed = match kind {
            RecordKind::Established => settings.recording <= Recording::EstablishedOnly as u32,
            RecordKind::Opening | RecordKind::Udp => settings.recording == Recording::All as u32,
        };
        if !allowed {
            return false;
        }
        let [opening, established, udp] = settings.record_rates;
        let [opening_ms, established_ms, udp_ms] = &mut self.filled_ms;
        let [opening_left, established_left, udp_left] = &mut self.left;
        match kind {
            RecordKind::Opening => take(opening, opening_ms, opening_left, now_ms),
            RecordKind::Established => take(established, established_ms, established_left, now_ms),
            RecordKind::Udp => take(udp, udp_ms, udp_left, now_ms),
        }
    }
}

const _: () = assert!(size_of::<Recorder>() == 88);

#[cfg(test)]
mod tests {
    use super::super::RecordRate;
    use super::*;

    fn settings(recording: Recording) -> Settings {
        let rate = |per_second, burst| RecordRate { per_second, burst };
        Settings {
            record_rates: [rate(10, 5), rate(100, 50), rate(1, 1)],
            recording: recording as u32,
            ..Settings::default()
        }
    }

    fn taken(recorder: &mut Recorder, kind: RecordKind, tries: u32, now_ms: u64) -> usize {
        (0..tries).filter(|_| recorder.take(kind, &settings(Recording::All), now_ms)).count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut recorder = Recorder::default();
        assert_eq!(taken(&mut recorder, RecordKind::Opening, 1_000, 1_000_000), 5);
        assert_eq!(taken(&mut recorder, RecordKind::Opening, 1_000, 1_000_099), 0);
        assert_eq!(taken(&mut recorder, RecordKind::Opening, 1_000, 1_000_100), 1);
        let over_a_second: usize =
            (1..=1_000).map(|ms| taken(&mut recorder, RecordKind::Opening, 3, 1_000_100 + ms)).sum();
        assert_eq!(over_a_second, 10);
    }

    #[test]
    fn a_flood_of_one_kind_leaves_the_others_alone() {
        let mut recorder = Recorder::default();
        taken(&mut recorder, RecordKind::Opening, 10_000, 1_000_000);
        assert_eq!(taken(&mut recorder, RecordKind::Established, 100, 1_000_000), 50);
        assert_eq!(taken(&mut recorder, RecordKind::Udp, 100, 1_000_000), 1);
    }

    #[test]
    fn the_level_closes_kinds() {
        let mut recorder = Recorder::default();
        let mut take = |kind, level| recorder.take(kind, &settings(level), 1_000_000);
        assert!(!take(RecordKind::Opening, Recording::EstablishedOnly));
        assert!(!take(RecordKind::Udp, Recording::EstablishedOnly));
        assert!(take(RecordKind::Established, Recording::EstablishedOnly));
        assert!(!take(RecordKind::Established, Recording::Nothing));
        assert!(take(RecordKind::Opening, Recording::All));
    }
}
