//! The latest results of one target.
//!
//! Always holds: at most [`KEPT`], the oldest first.

use std::collections::VecDeque;

use super::machine::LastResult;

/// Results that are remembered of each target.
pub const KEPT: usize = 10;

/// The latest results of one target.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<LastResult>);

impl History {
    /// Remembers one more; the oldest makes room.
    pub fn push(&mut self, result: LastResult) {
        while self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(result);
    }

    /// The oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &LastResult> {
        self.0.iter()
    }
}
