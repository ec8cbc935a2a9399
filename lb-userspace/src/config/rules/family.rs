//! The address family of VIPs and backends.
//!
//! Every mode keeps the family: nat rewrites addresses, dsr-l2 needs the backend's address only to find its
//! MAC but the backend answers as the VIP, and dsr-ipip wraps IPv4 in IPv4 (RFC 2003) or IPv6 in IPv6
//! (RFC 2473).

use super::{family_name, served};
use crate::config::draft::{BackendDraft, Draft, PoolDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::At;
use std::net::IpAddr;

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    for (service_name, service, pool_name, pool) in served(draft) {
        for is_ipv4 in [true, false] {
            let Some(vip) = service.vips.iter().find(|vip| vip.value.is_ipv4() == is_ipv4) else { continue };
            let mut others = strangers(pool, is_ipv4);
            if let Some(first) = others.next() {
                let names = (service_name, pool_name);
                problems.push(mismatch(names, vip, first, others.count()));
            }
        }
    }
}

/// The backends of the other family.
fn strangers(pool: &PoolDraft, is_ipv4: bool) -> impl Iterator<Item = &BackendDraft> {
    pool.backends
        .iter()
        .filter(move |backend| backend.address.as_ref().is_some_and(|at| at.value.0.is_ipv4() != is_ipv4))
}

fn mismatch(names: (&str, &str), vip: &At<IpAddr>, backend: &BackendDraft, more: usize) -> Problem {
    let (service_name, pool_name) = names;
    let family = family_name(vip.value);
    let other = if vip.value.is_ipv4() { "IPv6" } else { "IPv4" };
    let and_more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    let message = format!(
        "service {} has the {family} VIP {}, but {} of pool {} has an {other} address{and_more}",
        quoted(service_name),
        vip.value,
        backend.shown(),
        quoted(pool_name)
    );
    let hint = format!("give the {family} VIPs a service and a pool of their own, with {family} backends");
    let problem = Problem::relation(vip.span.clone(), message, hint);
    match &backend.address {
        Some(address) => problem.related(address.span.clone(), format!("the {other} backend")),
        None => problem,
    }
}
