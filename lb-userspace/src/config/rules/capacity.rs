//! What must fit: `node.limits`, and the bounds that keep the other rules fast.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::{members, pools, served, services};
use crate::config::bounds::{
    LIMIT_BACKENDS, LIMIT_SERVICES, LIMIT_SLOTS, MAX_FRONTENDS, MAX_REVERSE_ENTRIES,
};
use crate::config::draft::{Draft, LimitsDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::Span;
use crate::model::{ForwardMode, REVERSE_PER_BACKEND};

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    let defaults = LimitsDraft::defaults();
    let limits = draft.node.as_ref().map_or(&defaults, |node| &node.limits);
    check_frontends(draft, &limits.services, problems);
    check_addresses(draft, &limits.services, problems);
    check_backends(draft, &limits.backends, problems);
    check_slots(draft, &limits.slots, problems);
    check_reverse_entries(draft, limits.backends.0, problems);
}

/// Whether the rules may look at each frontend and at each of its backends one by one.
pub(super) fn is_expandable(draft: &Draft) -> bool {
    let frontends = services(draft)
        .iter()
        .fold(0_usize, |sum, (_, service)| sum.saturating_add(service.frontend_count()));
    frontends <= MAX_FRONTENDS && reverse_entries(draft, MAX_REVERSE_ENTRIES).1.is_none()
}

fn check_frontends(draft: &Draft, limit: &(u32, Option<Span>), problems: &mut Problems) {
    let costs = services(draft).into_iter().map(|(_, service)| {
        (service.frontend_count(), service.vips.first().map_or(&service.name_span, |vip| &vip.span))
    });
    if let Some((total, span)) = over_limit(costs, limit.0) {
        let message = format!("the services have {total} frontends, but node.limits.services is {}", limit.0);
        problems.push(exceeded("services", message, span, total, &LIMIT_SERVICES, limit));
    }
}

/// The table of frontends also has an entry for each address.
fn check_addresses(draft: &Draft, limit: &(u32, Option<Span>), problems: &mut Problems) {
    let room = limit.0.saturating_mul(2);
    let vips = services(draft).into_iter().flat_map(|(_, service)| &service.vips);
    let single: HashSet<_> = vips.filter_map(|vip| vip.value.single()).collect();
    let frontends: usize = services(draft).iter().map(|(_, service)| service.frontend_count()).sum();
    let snat = pools(draft).into_iter().filter_map(|(_, pool)| pool.snat.as_ref());
    let costs = snat.flat_map(|snat| snat.addresses.iter().map(|address| (1, &address.span)));
    let before = frontends.saturating_add(single.len());
    let left = room.saturating_sub(u32::try_from(before).unwrap_or(u32::MAX));
    // Without addresses to send from there are never more addresses than frontends, which have a limit.
    if let Some((snat, span)) = over_limit(costs, left) {
        let total = before.saturating_add(snat);
        let message = format!(
            "frontends and addresses (VIPs and `snat`) need {total} entries; node.limits.services makes room for {room}"
        );
        problems.push(exceeded("services", message, span, total.div_ceil(2), &LIMIT_SERVICES, limit));
    }
}

fn check_backends(draft: &Draft, limit: &(u32, Option<Span>), problems: &mut Problems) {
    let all = pools(draft).into_iter().flat_map(|(_, pool)| members(draft, pool));
    if let Some((total, span)) = over_limit(all.map(|backend| (1, &backend.span)), limit.0) {
        let message = format!("the pools have {total} backends, but node.limits.backends is {}", limit.0);
        problems.push(exceeded("backends", message, span, total, &LIMIT_BACKENDS, limit));
    }
}

fn check_slots(draft: &Draft, limit: &(u32, Option<Span>), problems: &mut Problems) {
    let pools = pools(draft);
    let twice = two_tables(draft);
    let tables = |name: &&str| if twice.contains(name) { 2 } else { 1 };
    let slots = || {
        let all = pools.iter().filter_map(|(name, pool)| Some((name, pool.slots.as_ref()?)));
        all.flat_map(|(name, slots)| std::iter::repeat_n(slots, tables(name)))
    };
    let count = |slots: u32| usize::try_from(slots).unwrap_or(usize::MAX);
    // The largest pool counts twice: its old and its new table live side by side while it changes.
    let largest = slots().max_by_key(|slots| slots.value);
    let costs = largest.into_iter().chain(slots()).map(|slots| (count(slots.value), &slots.span));
    if let Some((total, span)) = over_limit(costs, limit.0) {
        let message = format!(
            "the pools need {total} slots (the largest one twice), but node.limits.slots is {}",
            limit.0
        );
        problems.push(exceeded("slots", message, span, total, &LIMIT_SLOTS, limit));
    }
}

/// Pools that serve VIPs of both families and keep them apart: they have a table for each.
fn two_tables(draft: &Draft) -> HashSet<&str> {
    let mut families: HashMap<&str, [bool; 2]> = HashMap::new();
    for (_, service, name, pool) in served(draft) {
        if pool.mode.as_ref().is_some_and(|mode| !mode.value.is_tunnel()) {
            let [v4, v6] = families.entry(name).or_default();
            *v4 |= service.vips.iter().any(|vip| vip.value.is_ipv4());
            *v6 |= service.vips.iter().any(|vip| !vip.value.is_ipv4());
        }
    }
    families.into_iter().filter(|(_, both)| *both == [true; 2]).map(|(name, _)| name).collect()
}

fn check_reverse_entries(draft: &Draft, backends: u32, problems: &mut Problems) {
    let room = usize::try_from(backends.saturating_mul(REVERSE_PER_BACKEND)).unwrap_or(usize::MAX);
    let limit = room.min(MAX_REVERSE_ENTRIES);
    let (total, Some((name, span))) = reverse_entries(draft, limit) else { return };
    let message = format!(
        "service {} brings the nat pools to {total} pairs of a frontend and a backend; there is room \
         for {limit}, {REVERSE_PER_BACKEND} for each of node.limits.backends",
        quoted(name)
    );
    let hint =
        "raise node.limits.backends, list fewer ports, or use mode = \"full-nat\" or a DSR mode for the pool";
    problems.push(Problem::relation(span.clone(), message, hint));
}

/// The entries of the reverse lookup, and the service that brings them over their bound.
fn reverse_entries(draft: &Draft, limit: usize) -> (usize, Option<(&str, &Span)>) {
    let (mut total, mut culprit) = (0_usize, None);
    for (name, service, _, pool) in served(draft) {
        if pool.mode.as_ref().is_none_or(|mode| mode.value != ForwardMode::Nat) {
            continue;
        }
        total = total.saturating_add(service.frontend_count().saturating_mul(members(draft, pool).count()));
        if total > limit && culprit.is_none() {
            culprit = Some((name, &service.name_span));
        }
    }
    (total, culprit)
}

/// The sum of all costs and the place of the first one that does not fit, if the sum exceeds the limit.
fn over_limit<'d>(costs: impl Iterator<Item = (usize, &'d Span)>, limit: u32) -> Option<(usize, &'d Span)> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut total, mut first_over) = (0_usize, None);
    for (cost, span) in costs {
        total = total.saturating_add(cost);
        if total > limit && first_over.is_none() {
            first_over = Some(span);
        }
    }
    first_over.map(|span| (total, span))
}

fn exceeded(
    key: &str,
    message: String,
    span: &Span,
    needed: usize,
    range: &RangeInclusive<u32>,
    limit: &(u32, Option<Span>),
) -> Problem {
    let most = usize::try_from(*range.end()).unwrap_or(usize::MAX);
    let hint = if needed <= most {
        format!("raise node.limits.{key} to at least {needed}")
    } else {
        format!("node.limits.{key} cannot be more than {most}; the configuration must become smaller")
    };
    let problem = Problem::relation(span.clone(), message, hint);
    match &limit.1 {
        Some(limit_span) => problem.related(limit_span.clone(), "the limit"),
        None => problem,
    }
}
