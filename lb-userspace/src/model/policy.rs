//! What a pool does when few or none of its backends are healthy, and when its primary changes.

/// What a pool does when too few of its backends are healthy to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnAllDown {
    /// New connections are refused.
    #[default]
    Drop,
    /// Everybody who answers at all gets new connections, as if all were healthy (the check may be what is wrong); if nobody
    /// answers, everybody.
    FailOpen,
    /// New connections go to another pool.
    Fallback {
        /// That pool, which exists, has the same mode, and is not this one.
        pool: String,
        /// Whether, if the other pool serves nobody either, this one fails open; else it refuses.
        or_open: bool,
    },
}

impl OnAllDown {
    /// The pool that new connections go to, if that is what is done.
    pub fn fallback(&self) -> Option<&str> {
        match self {
            Self::Fallback { pool, .. } => Some(pool),
            Self::Drop | Self::FailOpen => None,
        }
    }
}

/// What becomes of the connections to a primary that is one no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRoleChange {
    /// They stay until they end.
    #[default]
    Keep,
    /// They are given up: their next packet goes to the new primary, which resets them.
    Reset,
}

/// What an operator wants of a pool whose backends are not all healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What to do with fewer than `min_healthy`.
    pub on_all_down: OnAllDown,
    /// Fewer healthy backends than this count as none; 1 (the default) to 1,000.
    pub min_healthy: u32,
    /// With fewer percent of the backends healthy than this, health is ignored; 0 (the default, never) to 100.
    pub panic_percent: u32,
    /// What becomes of the connections to a former primary.
    pub on_role_change: OnRoleChange,
}

impl Policy {
    /// The policy of a pool that says nothing of it.
    pub const DEFAULT: Self = Self {
        on_all_down: OnAllDown::Drop,
        min_healthy: 1,
        panic_percent: 0,
        on_role_change: OnRoleChange::Keep,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
