//! Addresses that `full-nat` sends from: there, of the right families, and nobody else's.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{family_name, members, mode_name, pools, services};
use crate::config::bounds::MAX_SNAT;
use crate::config::draft::{Draft, PoolDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::At;
use crate::model::ForwardMode;

/// Which addresses to take: none that the node has already. Its probes would leave from ports that may be a session's, and
/// their answers would go to a client.
const SPARE: &str =
    "of the network towards the backends and not this node's own: with vips = \"assign\" lbd adds it";

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    for (name, pool) in pools(draft) {
        check_mode(draft, name, pool, problems);
    }
    check_owners(draft, problems);
    check_vips(draft, problems);
    check_backends(draft, problems);
    check_count(draft, problems);
}

fn check_mode(draft: &Draft, name: &str, pool: &PoolDraft, problems: &mut Problems) {
    let Some(mode) = &pool.mode else { return };
    match (&pool.snat, mode.value) {
        (Some(snat), ForwardMode::FullNat) => {
            for is_ipv4 in [true, false] {
                let of_family = |at: &At<IpAddr>| at.value.is_ipv4() == is_ipv4;
                let backend = members(draft, pool).find(|backend| {
                    backend.address.as_ref().is_some_and(|address| address.value.0.is_ipv4() == is_ipv4)
                });
                let Some((backend, address)) =
                    backend.and_then(|backend| Some((backend, backend.address.as_ref()?)))
                else {
                    continue;
                };
                if !snat.addresses.iter().any(of_family) {
                    let family = family_name(address.value.0);
                    let message = format!(
                        "pool {} has the {family} {}, but no {family} address to send from",
                        quoted(name),
                        backend.shown()
                    );
                    let hint = format!("add a spare {family} address to `snat`, {SPARE}");
                    let problem = Problem::relation(snat.span.clone(), message, hint);
                    problems.push(problem.related(address.span.clone(), "the backend"));
                }
            }
        }
        (None, ForwardMode::FullNat) => {
            let message = format!("pool {} of mode \"full-nat\" has no `snat`", quoted(name));
            let hint = format!("write snat = [\"10.0.0.5\"] with a spare address of each family, {SPARE}");
            problems.push(Problem::relation(mode.span.clone(), message, hint));
        }
        (Some(snat), other) => {
            let message = format!("`snat` has no meaning in a pool of mode \"{}\"", mode_name(other));
            let problem =
                Problem::relation(snat.span.clone(), message, "remove it, or write mode = \"full-nat\"");
            problems.push(problem.related(mode.span.clone(), "the mode"));
        }
        (None, _) => {}
    }
}

/// Every address with its pool, in the order of the file.
fn addresses(draft: &Draft) -> impl Iterator<Item = (&str, &At<IpAddr>)> {
    pools(draft).into_iter().flat_map(|(name, pool)| {
        pool.snat.iter().flat_map(move |snat| snat.addresses.iter().map(move |address| (name, address)))
    })
}

fn check_owners(draft: &Draft, problems: &mut Problems) {
    let mut owners: HashMap<IpAddr, (&str, &At<IpAddr>)> = HashMap::new();
    for (name, address) in addresses(draft) {
        if let Some((owner, first)) = owners.get(&address.value) {
            let message = format!(
                "pool {} sends from {} already, which is in its `snat`",
                quoted(owner),
                address.value
            );
            let hint = "give each pool addresses of its own";
            let problem = Problem::relation(address.span.clone(), message, hint);
            problems.push(problem.related(first.span.clone(), "first use"));
        } else {
            owners.insert(address.value, (name, address));
        }
    }
}

/// A reply to such an address would be taken for a client's packet.
fn check_vips(draft: &Draft, problems: &mut Problems) {
    let services = services(draft);
    for (name, address) in addresses(draft) {
        let vip = services.iter().find_map(|(service, draft)| {
            let vip = draft.vips.iter().find(|vip| vip.value.contains(address.value))?;
            Some((*service, vip))
        });
        let Some((service, vip)) = vip else { continue };
        let message = format!(
            "pool {} would send from {}, which is a VIP of service {}",
            quoted(name),
            address.value,
            quoted(service)
        );
        let hint = format!("write a spare address, {SPARE}");
        let problem = Problem::relation(address.span.clone(), message, hint);
        problems.push(problem.related(vip.span.clone(), "the VIP"));
    }
}

fn check_backends(draft: &Draft, problems: &mut Problems) {
    let sources: HashMap<IpAddr, &At<IpAddr>> =
        addresses(draft).map(|(_, address)| (address.value, address)).collect();
    for (name, pool) in pools(draft) {
        for backend in &pool.backends {
            let Some(address) = &backend.address else { continue };
            let Some(source) = sources.get(&address.value.0) else { continue };
            let message = format!(
                "{} of pool {} has the address {}, which full-nat sends from",
                backend.shown(),
                quoted(name),
                source.value
            );
            let hint = "write the server's own address; those in `snat` belong to this node";
            let problem = Problem::relation(address.span.clone(), message, hint);
            problems.push(problem.related(source.span.clone(), "in `snat`"));
        }
    }
}

fn check_count(draft: &Draft, problems: &mut Problems) {
    let count = addresses(draft).count();
    if let Some((_, first_over)) = addresses(draft).nth(MAX_SNAT) {
        let message = format!("all `snat` together have {count} addresses");
        let hint = format!("use at most {MAX_SNAT}");
        problems.push(Problem::relation(first_over.span.clone(), message, hint));
    }
}
