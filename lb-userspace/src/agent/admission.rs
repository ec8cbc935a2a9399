//! Whom every pool serves: the health of its backends as its policy judges it.
//!
//! Always holds: backends that share a slot table are judged together, others apart; who stands in from another pool is
//! served only while too few of the pool's own backends are fit, and only if that other pool serves it.

use super::desired::{check_id, health_of, takes_flows};
use crate::health::policy::{self, Admission, Member, Reason};
use crate::health::{BackendId, TargetStatus, WishedState};
use crate::model::{Backend, Check, Model, OnAllDown, OnRoleChange, Pool, Role};
use crate::reconcile::{BackendName, identity};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The agent's word on its server's weight.
const WHOLE_WEIGHT_PERCENT: u8 = 100;

/// What is known when pools are judged.
pub struct Known<'a> {
    /// The configuration.
    pub model: &'a Model,
    /// What checks say.
    pub checked: &'a BTreeMap<BackendId, TargetStatus>,
    /// Identities of backends that slots name.
    pub in_use: &'a BTreeSet<u64>,
    /// The time.
    pub now: Instant,
}

/// How one slot table's backends were judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the pool.
    pub pool: String,
    /// The family of its backends; none if they share a table whatever their family.
    pub ipv4: Option<bool>,
    /// Why those are served who are.
    pub reason: Reason,
    /// Backends that are fit to be served.
    pub fit: usize,
    /// Backends that were judged: the pool's own that take flows as far as the operator is concerned.
    pub total: usize,
}

/// Whom every pool serves.
#[derive(Clone, Debug, Default)]
pub struct Admissions {
    /// Who is given new flows.
    pub served: BTreeSet<BackendName>,
    /// Whose weight counts for so many percent only.
    pub percents: BTreeMap<BackendName, u8>,
    /// Whose connections are given up, for another reason than having been down for long.
    pub given_up: BTreeSet<BackendName>,
    /// How each table was judged.
    pub verdicts: Vec<Verdict>,
}

/// Judges every pool.
pub fn admit(known: &Known<'_>) -> Admissions {
    let mut all = Admissions::default();
    for (name, pool) in &known.model.pools {
        let groups: &[Option<bool>] =
            if pool.mode.is_tunnel() { &[None] } else { &[Some(true), Some(false)] };
        for ipv4 in groups {
            admit_group(known, name, pool, *ipv4, &mut all);
        }
    }
    admit_standbys(known, &mut all);
    all
}

fn is_of(ipv4: Option<bool>, backend: &Backend) -> bool {
    ipv4.is_none_or(|ipv4| backend.address.is_ipv4() == ipv4)
}

/// Judges the own backends of a pool that share a table.
fn admit_group(known: &Known<'_>, pool_name: &str, pool: &Pool, ipv4: Option<bool>, all: &mut Admissions) {
    let active = active(pool, ipv4);
    if active.is_empty() {
        // The operator took everybody out: whoever stands in for them does so now. Not in a family that the pool never had; one
        // that has nobody of its own has the families of those who stand in.
        let has_own = pool.own_backends().next().is_some();
        let had_any = pool
            .backends
            .iter()
            .any(|backend| is_of(ipv4, backend) && backend.standby_of.is_none() == has_own);
        if let (true, Some(fallback)) = (had_any, pool.policy.on_all_down.fallback()) {
            let reason = Reason::Fallback(fallback.to_owned());
            let pool = pool_name.to_owned();
            all.verdicts.push(Verdict { pool, ipv4, reason, fit: 0, total: 0 });
        }
        return;
    }
    let members: Vec<Member> = active.iter().map(|backend| member(known, pool_name, backend)).collect();
    let role = known.model.check_of(pool).and_then(Check::role);
    let Admission { served, fit, reason } = policy::admit(&pool.policy, role, &members);
    let somebody = served.contains(&true);
    for ((backend, member), served) in active.iter().zip(&members).zip(&served) {
        let name = BackendName::of(pool_name, backend);
        if let (true, Some(wish)) = (*served, member.wish)
            && wish.weight_percent != WHOLE_WEIGHT_PERCENT
        {
            all.percents.insert(name.clone(), wish.weight_percent);
        }
        if *served {
            all.served.insert(name);
        } else if somebody && is_given_up(pool, role, member) {
            all.given_up.insert(name);
        }
    }
    let pool = pool_name.to_owned();
    all.verdicts.push(Verdict { pool, ipv4, reason, fit, total: active.len() });
}

/// The own backends of a pool that share a table and take flows as far as the operator is concerned.
fn active(pool: &Pool, ipv4: Option<bool>) -> Vec<&Backend> {
    pool.own_backends().filter(|backend| is_of(ipv4, backend) && takes_flows(backend)).collect()
}

fn member(known: &Known<'_>, pool: &str, backend: &Backend) -> Member {
    let status = known.checked.get(&check_id(pool, backend)).map(|target| &target.status);
    // What a good answer said holds as long as its target is not down.
    let findings = status.map(|status| &status.findings);
    Member {
        health: health_of(known.model, pool, backend, known.checked),
        serves: known.in_use.contains(&identity(pool, backend).identity),
        answers: status
            .and_then(|status| status.last_result.as_ref())
            .is_some_and(|result| result.event.answers()),
        held: status.is_some_and(|status| status.held_for(known.now) > Duration::ZERO),
        database: findings.and_then(|findings| findings.database),
        wish: findings.and_then(|findings| findings.wish),
    }
}

/// Whether the connections of a backend that is not served are given up at once, for its agent says that it is in
/// maintenance, or for another one is the primary.
fn is_given_up(pool: &Pool, role: Option<Role>, member: &Member) -> bool {
    let in_maintenance = member.wish.is_some_and(|wish| wish.state == WishedState::Maintenance);
    let is_replaced = role == Some(Role::Primary) && pool.policy.on_role_change == OnRoleChange::Reset;
    in_maintenance || is_replaced
}

/// Lets those in whom the other pool serves, where a pool falls back to it: standbys, and own backends that it has too. If
/// there is nobody, the pool may fail open.
fn admit_standbys(known: &Known<'_>, all: &mut Admissions) {
    let mut standing_in = Vec::new();
    for verdict in &mut all.verdicts {
        let (Reason::Fallback(fallback), Some(pool)) =
            (&verdict.reason, known.model.pools.get(&verdict.pool))
        else {
            continue;
        };
        let served = &all.served;
        let names = in_fallback(known.model, fallback, verdict, pool, served);
        if !names.is_empty() {
            standing_in
                .extend(names.into_iter().map(|(name, origin)| (name, all.percents.get(&origin).copied())));
        } else if matches!(pool.policy.on_all_down, OnAllDown::Fallback { or_open: true, .. }) {
            let active = active(pool, verdict.ipv4);
            let members: Vec<Member> =
                active.iter().map(|backend| member(known, &verdict.pool, backend)).collect();
            let open = active.iter().zip(policy::everybody(&members)).filter(|(_, open)| *open);
            standing_in.extend(open.map(|(backend, _)| (BackendName::of(&verdict.pool, backend), None)));
            verdict.reason = Reason::FailOpen;
        }
    }
    for (name, percent) in standing_in {
        all.percents.extend(percent.map(|percent| (name.clone(), percent)));
        all.given_up.remove(&name);
        all.served.insert(name);
    }
}

/// A pool's backends whom the pool that it falls back to serves, each with its name there.
fn in_fallback(
    model: &Model,
    fallback: &str,
    verdict: &Verdict,
    pool: &Pool,
    served: &BTreeSet<BackendName>,
) -> Vec<(BackendName, BackendName)> {
    let Some(other) = model.pools.get(fallback) else { return Vec::new() };
    let origin = |backend: &Backend| {
        let is_same = |other: &&Backend| (other.address, other.port) == (backend.address, backend.port);
        Some(BackendName::of(fallback, other.backends.iter().find(is_same)?))
    };
    let candidates =
        pool.backends.iter().filter(|backend| is_of(verdict.ipv4, backend) && takes_flows(backend));
    let named =
        candidates.filter_map(|backend| Some((BackendName::of(&verdict.pool, backend), origin(backend)?)));
    named.filter(|(_, origin)| served.contains(origin)).collect()
}

#[cfg(test)]
mod tests;
