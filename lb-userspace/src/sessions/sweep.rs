//! A count of the sessions, which takes those away that are over.

use super::timeout::longest_idle;
use crate::dataplane::{Dataplane, DataplaneError, Observed};
use crate::model::{ForwardMode, Model, Pool};
use crate::reconcile::identity;
use fnv::FnvHashMap;
use lb_common::abi::{FlowKey, Session, SessionSeen, SessionState, SessionWay};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The idle time of a session is known to a second only: the datapath stamps whole ones.
const STAMP_S: u64 = 1;
/// An entry of replies without its client's is being made, or is left over if it is older than this.
const MAKING_S: u64 = 5;
/// How long a session that both sides have finished counts as its backend's: its last words take a round trip or two.
const LAST_WORDS_S: u64 = 1;

/// A count of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCount {
    /// Sessions that live.
    pub sessions: u64,
    /// Those among them that are not established.
    pub opening: u64,
    /// Sessions that were over, and were taken away.
    pub over: u64,
    /// Entries of replies that belonged to no session, and were taken away.
    pub orphans: u64,
    /// Sessions by backend index, without those that have said their last words.
    pub flows: FnvHashMap<u32, u64>,
    /// Backends that entries lead to.
    pub named: BTreeSet<u32>,
}

/// Counts the sessions as they are at `now_ms`, and takes those away that are over: idle for too long, or of a backend that is
/// dead or gone.
///
/// # Errors
/// When the table cannot be read or written.
pub fn sweep(
    dataplane: &mut impl Dataplane,
    model: &Model,
    observed: &Observed,
    now_ms: u64,
) -> Result<SessionCount, DataplaneError> {
    let judge = Judge { timeouts: timeouts(model, observed), observed, now_s: now_ms / 1_000 };
    let mut count = SessionCount::default();
    // Entries of replies; in the end those that nobody needs.
    let mut replies: HashMap<FlowKey, SessionSeen> = HashMap::new();
    dataplane.sweep_sessions(&mut |key, session| {
        if session.way.reply != 0 {
            replies.insert(*key, session.seen);
        }
        false
    })?;
    dataplane.sweep_sessions(&mut |key, session| {
        if session.way.reply != 0 {
            return false;
        }
        let answer = session.way.answers(key.protocol);
        // One that was made since the first look is silent, and too young to be over.
        let seen = replies.get(&answer).copied().unwrap_or(SessionSeen::new(SessionState::Silent, 0));
        match judge.judge(key.protocol, session, seen) {
            Judgement::Over => {
                count.over += 1;
                true
            }
            Judgement::Lives { opening, counts } => {
                replies.remove(&answer);
                count.sessions += 1;
                count.opening += u64::from(opening);
                *count.flows.entry(session.way.backend_index).or_default() += u64::from(counts);
                false
            }
        }
    })?;
    count.named = count.flows.keys().copied().collect();
    if !replies.is_empty() {
        let mut taken = 0_u64;
        dataplane.sweep_sessions(&mut |key, session| {
            let is_left = session.way.reply != 0
                && replies.contains_key(key)
                && (judge.idle_s(session.seen) > MAKING_S || !judge.may_go_on(&session.way));
            if session.way.reply != 0 && !is_left {
                // It may be a session's by the next look.
                count.named.insert(session.way.backend_index);
            }
            taken += u64::from(is_left);
            is_left
        })?;
        count.orphans = taken.saturating_sub(count.over);
    }
    Ok(count)
}

/// `flow_timeout` by the identity of backends.
fn timeouts(model: &Model, observed: &Observed) -> BTreeMap<u32, Duration> {
    let pools = model.pools.iter();
    let by_identity: BTreeMap<u64, Duration> = pools
        .flat_map(|(name, pool)| {
            pool.backends.iter().map(move |backend| (identity(name, backend).identity, pool.flow_timeout))
        })
        .collect();
    let backends = observed.backends.iter();
    backends.filter_map(|(index, (owner, _))| Some((*index, *by_identity.get(&owner.identity)?))).collect()
}

/// What becomes of a session.
enum Judgement {
    /// Nobody needs it.
    Over,
    /// It lives.
    Lives {
        /// Whether it is not established.
        opening: bool,
        /// Whether it counts as its backend's.
        counts: bool,
    },
}

/// What sessions are judged by.
struct Judge<'a> {
    timeouts: BTreeMap<u32, Duration>,
    observed: &'a Observed,
    now_s: u64,
}

impl Judge<'_> {
    fn idle_s(&self, seen: SessionSeen) -> u64 {
        self.now_s.saturating_sub(u64::from(seen.seen_s()))
    }

    /// Whether the backend is one that sessions stay with.
    fn may_go_on(&self, way: &SessionWay) -> bool {
        let owner = self.observed.backends.get(&way.backend_index);
        owner.is_some_and(|(_, entry)| entry.keeps_flows())
    }

    fn judge(&self, protocol: u32, session: &Session, replies: SessionSeen) -> Judgement {
        if !self.may_go_on(&session.way) {
            return Judgement::Over;
        }
        // Of a backend that the configuration has no more nobody knows the pool's time any more.
        let timeout = self.timeouts.get(&session.way.backend_index).copied();
        let established = timeout.unwrap_or(Pool::new(ForwardMode::Nat, 0).flow_timeout);
        let (client, answers) = (session.seen.state(), replies.state());
        let most = longest_idle(protocol, client, answers, established);
        let idle_s = self.idle_s(session.seen).min(self.idle_s(replies));
        if idle_s > seconds_up(most) + STAMP_S {
            return Judgement::Over;
        }
        let said = |state| state == SessionState::Closing;
        let is_established = |state| state == SessionState::Established;
        Judgement::Lives {
            opening: [client, answers].iter().any(|state| !is_established(*state) && !said(*state)),
            counts: !(said(client) && said(answers)) || idle_s <= LAST_WORDS_S,
        }
    }
}

/// Whole seconds, rounded up.
fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
