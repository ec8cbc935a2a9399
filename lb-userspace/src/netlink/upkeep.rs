//! When the kernel is asked again for a neighbour that the datapath uses.
//!
//! Role: a pure schedule; time is an argument. XDP traffic does not touch the kernel's neighbour cache, so without
//! this entries would go stale and be forgotten while packets flow to them.

use std::time::Duration;

use tokio::time::Instant;

use super::{CacheState, Neighbour, NeighbourState};

/// A reachable neighbour is confirmed again at this age. The kernel lets entries go stale after 15 s at the earliest
/// (half of `base_reachable_time_ms`), so they do not.
pub(super) const CONFIRM_AGE: Duration = Duration::from_secs(8);

/// At most one question per neighbour in this time, whatever its state.
pub(super) const ASK_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// A neighbour that does not answer is asked for at twice the interval every time, up to this.
pub(super) const ASK_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// What to ask the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Find its link-layer address.
    Resolve,
    /// Check the known link-layer address.
    Confirm,
}

/// A neighbour in use: what was last seen of it, and when it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Upkeep {
    neighbour: Neighbour,
    seen_at: Instant,
    last_asked: Option<Instant>,
    /// Questions since it was last known.
    unanswered: u32,
    /// It failed to answer and has not been known since.
    failed: bool,
}

impl Upkeep {
    /// Starts with what the kernel's cache has.
    pub fn new(neighbour: Neighbour, now: Instant) -> Self {
        let mut upkeep = Self { neighbour, seen_at: now, last_asked: None, unanswered: 0, failed: false };
        upkeep.observe(neighbour, now);
        upkeep
    }

    /// Takes in what the kernel's cache has now.
    pub fn observe(&mut self, neighbour: Neighbour, now: Instant) {
        self.neighbour = neighbour;
        self.seen_at = now;
        match neighbour.state {
            CacheState::Failed => self.failed = true,
            CacheState::Missing | CacheState::Incomplete => {}
            _ => {
                self.failed = false;
                self.unanswered = 0;
            }
        }
    }

    /// What was last seen.
    pub fn neighbour(&self) -> &Neighbour {
        &self.neighbour
    }

    /// The state to show. A neighbour that failed stays so while it is asked for again.
    pub fn state(&self) -> NeighbourState {
        match self.neighbour.state.into() {
            NeighbourState::Resolving if self.failed => NeighbourState::Failed,
            state => state,
        }
    }

    /// What to ask and since when it is due; none when nothing is.
    pub fn due(&self, now: Instant) -> Option<(Instant, Question)> {
        let (at, question) = match self.neighbour.state {
            CacheState::Static | CacheState::Incomplete | CacheState::Probing => return None,
            CacheState::Missing | CacheState::Failed => (self.seen_at, Question::Resolve),
            CacheState::Stale => (self.seen_at, Question::Confirm),
            CacheState::Reachable => {
                let remaining = CONFIRM_AGE.saturating_sub(self.neighbour.confirmed_age);
                (self.seen_at + remaining, Question::Confirm)
            }
        };
        let at = self.last_asked.map_or(at, |last| at.max(last + self.interval()));
        (at <= now).then_some((at, question))
    }

    /// Notes that the kernel was asked.
    pub fn asked(&mut self, now: Instant) {
        self.last_asked = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Time that must pass after the last question: 1 s, 2 s, 4 s, 8 s, then 10 s.
    fn interval(&self) -> Duration {
        let doublings = self.unanswered.saturating_sub(1).min(8);
        (ASK_INTERVAL_MIN * (1 << doublings)).min(ASK_INTERVAL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: CacheState, age_s: u64) -> Neighbour {
        Neighbour { state, mac: None, confirmed_age: Duration::from_secs(age_s) }
    }

    fn question(upkeep: &Upkeep, now: Instant) -> Option<Question> {
        upkeep.due(now).map(|(_, question)| question)
    }

    #[test]
    fn every_state_has_its_question() {
        let now = Instant::now();
        let first = |state, age_s| question(&Upkeep::new(seen(state, age_s), now), now);
        assert_eq!(first(CacheState::Missing, 0), Some(Question::Resolve));
        assert_eq!(first(CacheState::Failed, 0), Some(Question::Resolve));
        assert_eq!(first(CacheState::Incomplete, 0), None);
        assert_eq!(first(CacheState::Stale, 60), Some(Question::Confirm));
        assert_eq!(first(CacheState::Probing, 60), None);
        assert_eq!(first(CacheState::Static, 600), None);
        assert_eq!(first(CacheState::Reachable, 0), None);
        assert_eq!(first(CacheState::Reachable, 8), Some(Question::Confirm));
    }

    #[test]
    fn a_reachable_neighbour_is_confirmed_before_it_goes_stale() {
        let now = Instant::now();
        let upkeep = Upkeep::new(seen(CacheState::Reachable, 3), now);
        assert_eq!(question(&upkeep, now + Duration::from_millis(4_999)), None);
        assert_eq!(question(&upkeep, now + Duration::from_secs(5)), Some(Question::Confirm));
    }

    #[test]
    fn a_silent_neighbour_is_asked_for_less_and_less_often() {
        let start = Instant::now();
        let mut upkeep = Upkeep::new(Neighbour::MISSING, start);
        let mut asked_at_s = Vec::new();
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            if question(&upkeep, now).is_some() {
                upkeep.asked(now);
                asked_at_s.push(second);
            }
            upkeep.observe(seen(CacheState::Failed, 0), now);
        }
        assert_eq!(asked_at_s, [0, 1, 3, 7, 15, 25, 35, 45, 55]);
    }

    #[test]
    fn an_answer_resets_the_interval() {
        let start = Instant::now();
        let mut upkeep = Upkeep::new(Neighbour::MISSING, start);
        for _ in 0..9 {
            upkeep.asked(start);
        }
        upkeep.observe(seen(CacheState::Reachable, 0), start);
        upkeep.observe(seen(CacheState::Failed, 0), start);
        assert_eq!(question(&upkeep, start), None);
        assert_eq!(question(&upkeep, start + ASK_INTERVAL_MIN), Some(Question::Resolve));
    }

    #[test]
    fn a_failed_neighbour_shows_as_failed_until_it_answers() {
        let now = Instant::now();
        let mut upkeep = Upkeep::new(seen(CacheState::Incomplete, 0), now);
        assert_eq!(upkeep.state(), NeighbourState::Resolving);
        upkeep.observe(seen(CacheState::Failed, 0), now);
        upkeep.observe(seen(CacheState::Incomplete, 0), now);
        assert_eq!(upkeep.state(), NeighbourState::Failed);
        upkeep.observe(seen(CacheState::Reachable, 0), now);
        assert_eq!(upkeep.state(), NeighbourState::Resolved);
        upkeep.observe(seen(CacheState::Incomplete, 0), now);
        assert_eq!(upkeep.state(), NeighbourState::Resolving);
    }
}
