//! Looking after slots that change hands: counts flows, forgets those that are over, moves slots on, frees indexes.
//!
//! Always holds: the work takes a small part of a CPU however many flows there are, because the pause after it grows
//! with the time it took.

use super::state::State;
use super::{Agent, AgentError, clock};
use crate::dataplane::{Dataplane as _, Observed, Op};
use crate::phases::{self, View, take_census};
use crate::reconcile::identity;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Shortest pause between two looks.
pub const SHORTEST: Duration = Duration::from_millis(500);
/// Longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(10);
/// The pause is this many times as long as the look took: at most a twentieth of a CPU.
const PAUSE_FACTOR: u32 = 19;

/// Looks once. Returns the pause until the next look.
pub async fn tend(agent: &Agent) -> Duration {
    let mut state = agent.state.lock().await;
    let began = Instant::now();
    if let Err(error) = tokio::task::block_in_place(|| look(&mut state)) {
        tracing::error!("slots could not be moved on, will be tried again: {error}");
    }
    (began.elapsed() * PAUSE_FACTOR).clamp(SHORTEST, LONGEST)
}

fn look(state: &mut State) -> Result<(), AgentError> {
    let model = state.loaded.model.clone();
    let observed = state.dataplane.observe()?;
    let counters = state.dataplane.flow_counters()?;
    let census_ms = clock::monotonic_ms();
    if has_gone(state, &observed) {
        // A packet that saw a slot of before may still record its flow; afterwards nobody can.
        state.dataplane.apply(&Op::WaitForReaders)?;
    }
    let census = take_census(&state.dataplane, &model, &observed, census_ms)?;
    state.dataplane.apply(&Op::DeleteFlows(census.over.clone()))?;
    let now_ms = clock::monotonic_ms();
    let view =
        View { model: &model, observed: &observed, counters: &counters, census: &census, census_ms, now_ms };
    for op in state.phases.advance(&view) {
        state.dataplane.apply(&op)?;
    }
    let left = census.entries.saturating_sub(census.over.len() as u64);
    let recording = phases::recording(left, observed.capacity.flows);
    if observed.settings.recording != recording as u32 {
        tracing::info!("{left} of {} flows are remembered: recording {recording:?}", observed.capacity.flows);
        state.dataplane.apply(&Op::SetRecording(recording))?;
    }
    state.flows.note(counters, &census, phases::count(&observed));
    state.reconcile_with(&model, Some(&census.named()))?;
    Ok(())
}

/// Whether there are backends that the configuration has no more.
fn has_gone(state: &State, observed: &Observed) -> bool {
    let pools = &state.loaded.model.pools;
    let known: HashSet<u64> = pools
        .iter()
        .flat_map(|(name, pool)| pool.backends.iter().map(|backend| identity(name, backend).identity))
        .collect();
    observed.backends.values().any(|(owner, _)| !known.contains(&owner.identity))
}
