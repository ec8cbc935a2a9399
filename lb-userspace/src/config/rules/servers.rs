//! Backends: names and addresses are unique in a pool, and no backend has a VIP for its address.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{pools, services};
use crate::config::draft::{Draft, PoolDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::model::Prefix;

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    for (name, pool) in pools(draft) {
        check_names(name, pool, problems);
        check_addresses(name, pool, problems);
    }
    check_vips(draft, problems);
}

fn check_names(pool_name: &str, pool: &PoolDraft, problems: &mut Problems) {
    let mut first_spans: HashMap<&str, &Span> = HashMap::new();
    for name in pool.backends.iter().filter_map(|backend| backend.name.as_ref()) {
        if let Some(first) = first_spans.get(name.value.as_str()) {
            let message =
                format!("pool {} has two backends named {}", quoted(pool_name), quoted(&name.value));
            let problem = Problem::relation(name.span.clone(), message, "rename one of them");
            problems.push(problem.related((*first).clone(), "first use"));
        } else {
            first_spans.insert(&name.value, &name.span);
        }
    }
}

fn check_addresses(pool_name: &str, pool: &PoolDraft, problems: &mut Problems) {
    // In the DSR modes the port is the service's own, so two backends on one host are the same server.
    let ports_count = pool.mode.as_ref().is_none_or(|mode| mode.value.changes_ports());
    let mut first_spans: HashMap<(IpAddr, Option<u16>), &Span> = HashMap::new();
    for address in pool.backends.iter().filter_map(|backend| backend.address.as_ref()) {
        let key = (address.value.0, address.value.1.filter(|_| ports_count));
        if let Some(first) = first_spans.get(&key) {
            let message =
                format!("pool {} has two backends with the address {}", quoted(pool_name), shown(key));
            let hint = "remove one of them; use `weight` for a larger share";
            let problem = Problem::relation(address.span.clone(), message, hint);
            problems.push(problem.related((*first).clone(), "first use"));
        } else {
            first_spans.insert(key, &address.span);
        }
    }
}

fn shown((address, port): (IpAddr, Option<u16>)) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

/// A packet to such a backend would come back to the node as a client's.
fn check_vips(draft: &Draft, problems: &mut Problems) {
    let mut vips: HashMap<IpAddr, (&str, &At<Prefix>)> = HashMap::new();
    let mut networks: Vec<(&str, &At<Prefix>)> = Vec::new();
    for (name, service) in services(draft) {
        for vip in &service.vips {
            match vip.value.single() {
                Some(address) => {
                    vips.entry(address).or_insert((name, vip));
                }
                None => networks.push((name, vip)),
            }
        }
    }
    for backend in draft.pools.values().flat_map(|pool| &pool.backends) {
        let Some(address) = &backend.address else { continue };
        let within = || networks.iter().copied().find(|(_, network)| network.value.contains(address.value.0));
        let Some((service_name, vip)) = vips.get(&address.value.0).copied().or_else(within) else { continue };
        let message = format!(
            "{} has the address {}, which is a VIP of service {}",
            backend.shown(),
            address.value.0,
            quoted(service_name)
        );
        let hint = "write the server's own address; the VIP belongs to the load balancer";
        let problem = Problem::relation(address.span.clone(), message, hint);
        problems.push(problem.related(vip.span.clone(), "the VIP"));
    }
}
