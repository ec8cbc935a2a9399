//! Looking after the maps, again and again: slots that change hands, flows that end, and what somebody else changed.
//!
//! Always holds: the work takes a small part of a CPU however many slots and flows there are, because the pause after
//! it grows with the time it took. Counting flows has a pause of its own: with a million of them it takes long, and
//! slots must not wait for it. Sessions are counted in turns, as who waits for the agent's lock must not wait for them.

use super::Agent;
use super::state::State;
use crate::dataplane::Dataplane as _;
use crate::sessions;
use crate::telemetry::events::EventKind;
use lb_common::abi::Recording;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest pause between two looks.
const SHORTEST: Duration = Duration::from_millis(500);
/// Pause while nothing changes by itself; what somebody changes takes effect at once.
const QUIET: Duration = Duration::from_secs(2);
/// Longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(10);
/// The pause is this many times as long as the work took: at most a tenth of a CPU each.
const PAUSE_FACTOR: u32 = 9;

/// Shortest pause between two counts of sessions: half of the time that the shortest-lived ones have.
const SESSIONS: Duration = Duration::from_secs(5);

/// When to look and to count next.
pub struct Tending {
    look: Instant,
    count: Instant,
    sessions: Instant,
    /// When to look whether sessions find room.
    fullness: Instant,
    recording: Recording,
    alarms: sessions::Alarms,
}

impl Tending {
    /// The first time is soon.
    pub fn new() -> Self {
        let soon = Instant::now() + SHORTEST;
        Self {
            look: soon,
            count: soon,
            sessions: soon,
            fullness: soon,
            recording: Recording::All,
            alarms: sessions::Alarms::default(),
        }
    }

    /// When something is due.
    pub fn next(&self) -> Instant {
        self.look.min(self.count).min(self.sessions)
    }

    /// Tells operators when the flow table fills.
    fn tell(&mut self, state: &State) {
        let recording = state.keeper.recording();
        if recording == self.recording {
            return;
        }
        self.recording = recording;
        let (kind, says) = match recording {
            Recording::All => (EventKind::Datapath, "there is room again for every flow"),
            Recording::EstablishedOnly => (
                EventKind::Alarm,
                "filling up: new connections that meet slots which change hands are not recorded, drains take longer",
            ),
            Recording::Nothing => (
                EventKind::Alarm,
                "all but full: nothing is recorded, slots go on learning; if this is no flood, raise node.limits.flows",
            ),
        };
        tracing::warn!("flow table: {says} ({} entries)", state.keeper.book.entries);
        state.event(kind, "flow table", says);
    }

    /// Counts sessions, one turn, and tells operators when they find no room.
    fn sweep(&mut self, state: &mut State) {
        let began = Instant::now();
        let done = state.sweep_sessions();
        let rest = began.elapsed() * PAUSE_FACTOR;
        let pause = match done {
            Some(true) => rest.max(SESSIONS),
            Some(false) => rest,
            None => LONGEST,
        };
        self.sessions = Instant::now() + pause;
        if began < self.fullness {
            return;
        }
        self.fullness = began + SESSIONS;
        let Ok(verdicts) = state.dataplane.verdicts() else { return };
        let look = sessions::Look {
            sessions: state.keeper.sessions.count.sessions,
            capacity: u64::from(state.loaded.model.node.limits.sessions),
            verdicts: &verdicts,
            now_ms: super::around::now().monotonic_ms,
        };
        for (is_bad, says) in self.alarms.look(&look) {
            let kind = if is_bad { EventKind::Alarm } else { EventKind::Datapath };
            tracing::warn!("sessions: {says}");
            state.event(kind, "sessions", &says);
        }
    }

    /// Looks, and counts what is due.
    pub async fn look(&mut self, agent: &Agent) {
        let mut state = agent.state.lock().await;
        if Instant::now() >= self.sessions {
            self.sweep(&mut state);
        }
        if Instant::now() < self.look.min(self.count) {
            return;
        }
        let began = Instant::now();
        let count = began >= self.count;
        let done = state.look(count);
        let now = Instant::now();
        if !done {
            // What keeps it from working is told once for each attempt.
            (self.look, self.count) = (now + LONGEST, now + LONGEST);
            return;
        }
        self.tell(&state);
        let shortest = if state.keeper.is_quiet() { QUIET } else { SHORTEST };
        let pause = ((now - began) * PAUSE_FACTOR).clamp(shortest, LONGEST);
        if count {
            self.count = now + pause;
            // What a look alone takes is not known from this; the next one tells.
            self.look = now + shortest;
        } else {
            self.look = now + pause;
        }
    }
}
