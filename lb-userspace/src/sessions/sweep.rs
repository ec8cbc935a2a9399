//! A count of the sessions, which takes those away that are over.

use super::timeout::{CLOSING, CLOSING_CROWDED, Idle, longest_idle};
use crate::dataplane::{Backends, Dataplane, DataplaneError};
use crate::model::{ForwardMode, Model, Pool};
use crate::reconcile::identity;
use fnv::{FnvHashMap, FnvHashSet};
use lb_common::abi::{Address, FlowKey, Session, SessionSeen, SessionState, SessionWay};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Addresses that sessions send from.
    pub sources: BTreeSet<Address>,
}

/// A count that is under way. It goes through the table in turns, so that whoever waits for the maps does not wait long;
/// sessions that come or go meanwhile may be in it or not.
#[derive(Debug)]
pub struct Sweep {
    began_ms: u64,
    closing: Duration,
    position: Option<u32>,
    count: SessionCount,
}

impl Sweep {
    /// One that begins at `now_ms`; `crowded` if what is over had better go soon.
    pub fn begin(now_ms: u64, crowded: bool) -> Self {
        let closing = if crowded { CLOSING_CROWDED } else { CLOSING };
        Self { began_ms: now_ms, closing, position: None, count: SessionCount::default() }
    }

    /// When it began, in milliseconds of the monotonic clock.
    pub const fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// One turn: looks at a page of entries as they are at `now_ms`, and takes those sessions away that are over: idle for
    /// too long, or of a backend that is dead or gone. The count when all were seen; otherwise there are more turns to come.
    ///
    /// # Errors
    /// When the table cannot be read or written; a new count has to begin then.
    pub fn turn(
        &mut self,
        dataplane: &mut impl Dataplane,
        model: &Model,
        now_ms: u64,
    ) -> Result<Option<SessionCount>, DataplaneError> {
        let backends = &dataplane.backends()?;
        let (timeouts, closing) = (timeouts(model, backends), self.closing);
        let judge = Judge { timeouts, closing, backends, now_s: now_ms / 1_000 };
        let page = dataplane.sessions_from(self.position)?;
        let mut over = Vec::new();
        let mut replies = Vec::new();
        for (key, session) in &page.entries {
            if session.way.reply == 0 {
                let answer = session.way.answers(key.protocol);
                let reply = dataplane.session(&answer)?.filter(|reply| is_pair(key, reply));
                if self.judged(&judge, key, session, reply.as_ref()) {
                    over.push(*key);
                    replies.push(answer);
                }
            } else if judge.may_be_left(session) {
                replies.push(*key);
            } else {
                // It may be a session's by the next look.
                self.count.named.insert(session.way.backend_index);
            }
        }
        dataplane.forget_sessions(&over)?;
        self.forget_left(dataplane, &judge, &replies, &over)?;
        self.position = page.next;
        if self.position.is_some() {
            return Ok(None);
        }
        self.count.named.extend(self.count.flows.keys());
        Ok(Some(std::mem::take(&mut self.count)))
    }

    /// Counts a client's entry; whether its session is over.
    fn judged(
        &mut self,
        judge: &Judge<'_>,
        key: &FlowKey,
        session: &Session,
        reply: Option<&Session>,
    ) -> bool {
        // One that has none is silent.
        let seen = reply.map_or(SessionSeen::new(SessionState::Silent, 0), |reply| reply.seen);
        match judge.judge(key.protocol, session, seen) {
            Judgement::Over => {
                self.count.over += 1;
                true
            }
            Judgement::Lives { opening, counts } => {
                self.count.sessions += 1;
                self.count.opening += u64::from(opening);
                *self.count.flows.entry(session.way.backend_index).or_default() += u64::from(counts);
                self.count.sources.insert(session.way.source);
                false
            }
        }
    }

    /// Takes those of these entries of replies away that belong to no session any more. They are asked for again: the
    /// datapath may have made others under the same keys.
    fn forget_left(
        &mut self,
        dataplane: &mut impl Dataplane,
        judge: &Judge<'_>,
        replies: &[FlowKey],
        over: &[FlowKey],
    ) -> Result<(), DataplaneError> {
        let over: FnvHashSet<&FlowKey> = over.iter().collect();
        let mut left = Vec::new();
        for key in replies {
            let Some(reply) = dataplane.session(key)?.filter(|reply| reply.way.reply != 0) else { continue };
            let client = reply.way.answers(key.protocol);
            let found = dataplane.session(&client)?;
            let has_client =
                found.is_some_and(|found| found.way.reply == 0 && found.way.answers(key.protocol) == *key);
            if has_client || !judge.may_be_left(&reply) {
                self.count.named.insert(reply.way.backend_index);
            } else {
                left.push(*key);
                self.count.orphans += u64::from(!over.contains(&client));
            }
        }
        dataplane.forget_sessions(&left)
    }
}

/// Whether an entry of replies is that of the client's entry with this key.
fn is_pair(client: &FlowKey, reply: &Session) -> bool {
    reply.way.reply != 0 && reply.way.answers(client.protocol) == *client
}

/// `flow_timeout` by the identity of backends.
fn timeouts(model: &Model, backends: &Backends) -> BTreeMap<u32, Duration> {
    let pools = model.pools.iter();
    let by_identity: BTreeMap<u64, Duration> = pools
        .flat_map(|(name, pool)| {
            pool.backends.iter().map(move |backend| (identity(name, backend).identity, pool.flow_timeout))
        })
        .collect();
    let backends = backends.iter();
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
    closing: Duration,
    backends: &'a Backends,
    now_s: u64,
}

impl Judge<'_> {
    fn idle_s(&self, seen: SessionSeen) -> u64 {
        self.now_s.saturating_sub(u64::from(seen.seen_s()))
    }

    /// Whether the backend is one that sessions stay with.
    fn may_go_on(&self, way: &SessionWay) -> bool {
        let owner = self.backends.get(&way.backend_index);
        owner.is_some_and(|(_, entry)| entry.keeps_flows())
    }

    /// Whether an entry of replies is left over if it has no client's: nobody is about to make that.
    fn may_be_left(&self, reply: &Session) -> bool {
        self.idle_s(reply.seen) > MAKING_S || !self.may_go_on(&reply.way)
    }

    fn judge(&self, protocol: u32, session: &Session, replies: SessionSeen) -> Judgement {
        if !self.may_go_on(&session.way) {
            return Judgement::Over;
        }
        // Of a backend that the configuration has no more nobody knows the pool's time any more.
        let timeout = self.timeouts.get(&session.way.backend_index).copied();
        let established = timeout.unwrap_or(Pool::new(ForwardMode::Nat, 0).flow_timeout);
        let (client, answers) = (session.seen.state(), replies.state());
        let most = longest_idle(protocol, client, answers, &Idle { established, closing: self.closing });
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
