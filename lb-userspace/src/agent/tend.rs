//! Looking after slots that change hands, again and again.
//!
//! Always holds: the work takes a small part of a CPU however many flows there are, because the pause after it grows
//! with the time it took.

use super::Agent;
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
    if let Err(error) = tokio::task::block_in_place(|| state.look()) {
        tracing::error!("slots could not be moved on, will be tried again: {error}");
    }
    (began.elapsed() * PAUSE_FACTOR).clamp(SHORTEST, LONGEST)
}
