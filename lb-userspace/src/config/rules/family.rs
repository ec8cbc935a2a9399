//! The address family of VIPs and backends.
//!
//! A tunnel carries either family in either. All other modes keep the family: nat and full-nat rewrite addresses, and
//! dsr-l2 needs the backend's address only to find its MAC but the backend answers as the VIP. There each VIP is served by
//! the backends of its own family.

use super::{family_name, served};
use crate::config::draft::{BackendDraft, Draft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::At;
use crate::model::Prefix;

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    for (service_name, service, pool_name, pool) in served(draft) {
        if pool.mode.as_ref().is_none_or(|mode| mode.value.is_tunnel()) {
            continue;
        }
        let Some(first) = pool.backends.first() else { continue };
        for is_ipv4 in [true, false] {
            let Some(vip) = service.vips.iter().find(|vip| vip.value.is_ipv4() == is_ipv4) else { continue };
            // Of what could not be read the family is not known.
            let may_serve = |backend: &BackendDraft| {
                backend.address.as_ref().is_none_or(|at| at.value.0.is_ipv4() == is_ipv4)
            };
            if !pool.backends.iter().any(may_serve) {
                problems.push(nobody((service_name, pool_name), vip, first));
            }
        }
    }
}

fn nobody(names: (&str, &str), vip: &At<Prefix>, backend: &BackendDraft) -> Problem {
    let (service_name, pool_name) = names;
    let family = family_name(vip.value.address());
    let other = if vip.value.is_ipv4() { "IPv6" } else { "IPv4" };
    let message = format!(
        "service {} has the {family} VIP {}, but all backends of pool {} have {other} addresses",
        quoted(service_name),
        vip.value,
        quoted(pool_name)
    );
    let hint = format!("add {family} backends to the pool, or use mode = \"dsr-ipip\" or \"dsr-gue\"");
    let problem = Problem::relation(vip.span.clone(), message, hint);
    match &backend.address {
        Some(address) => problem.related(address.span.clone(), format!("an {other} backend")),
        None => problem,
    }
}
