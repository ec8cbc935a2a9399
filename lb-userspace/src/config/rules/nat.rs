//! The reverse lookup of nat: {backend address, port, protocol} must lead to one frontend.
//!
//! A single port has an entry of its own, which is found before that of a range, as its frontend is. So a single port and a
//! range of one VIP get on with each other as long as the backend keeps the port.

mod wide;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::frontends::{PlacedFrontend, placed};
use super::{members, served, services};
use crate::config::draft::{BackendDraft, Draft, ServiceDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::Span;
use crate::model::{ForwardMode, Protocol};

/// Who sends replies from an address and port, and for which frontend.
#[derive(Clone, Copy)]
struct Replier<'d> {
    frontend: PlacedFrontend<'d>,
    backend: &'d BackendDraft,
}

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    let mut repliers: HashMap<(IpAddr, u16, Protocol), Replier<'_>> = HashMap::new();
    let mut wide = wide::Sources::default();
    let mut reported: HashSet<(Span, Span)> = HashSet::new();
    // Single ports among themselves need no more than `repliers`.
    let any_wide = services(draft).iter().any(|(_, service)| has_wide(service));
    for (name, service, _, pool) in served(draft) {
        if pool.mode.as_ref().is_none_or(|mode| mode.value != ForwardMode::Nat) {
            continue;
        }
        check_networks(name, service, problems);
        check_ports(name, service, members(draft, pool), problems);
        for frontend in placed(name, service) {
            for backend in members(draft, pool) {
                let replier = Replier { frontend, backend };
                if any_wide {
                    wide.add(replier);
                }
                let Some(key) = reply_source(replier) else { continue };
                let Some(first) = repliers.get(&key).copied() else {
                    repliers.insert(key, replier);
                    continue;
                };
                let (first_span, second_span) = places(first, replier);
                if is_same_frontend(first, replier) && is_written_alike(first.backend, backend) {
                    // `servers` reports two backends with one address.
                    continue;
                }
                if reported.insert((first_span.clone(), second_span.clone())) {
                    let problem = clash(first, replier, SocketAddr::new(key.0, key.1));
                    problems.push(problem.related(first_span, "the first"));
                }
            }
        }
    }
    wide.check(&mut reported, problems);
}

/// Whether a service has a range, or any port.
fn has_wide(service: &ServiceDraft) -> bool {
    service.ports.iter().any(|ports| ports.value.one().is_none())
}

/// Replies say nothing of the address that the client asked for.
fn check_networks(name: &str, service: &ServiceDraft, problems: &mut Problems) {
    for network in service.vips.iter().filter(|vip| vip.value.single().is_none()) {
        let message = format!(
            "service {} has the network {}, and nat cannot tell to which of its addresses a reply belongs",
            quoted(name),
            network.value
        );
        let hint = "use mode = \"full-nat\" or a DSR mode, or list the addresses one by one, each with a pool of its own";
        problems.push(Problem::relation(network.span.clone(), message, hint));
    }
}

/// With a port of its own a backend would get packets of all ports of a range there.
fn check_ports<'d>(
    name: &str,
    service: &ServiceDraft,
    members: impl Iterator<Item = &'d BackendDraft>,
    problems: &mut Problems,
) {
    let Some(wide) = service.ports.iter().find(|ports| ports.value.one().is_none()) else { return };
    for address in members.filter_map(|backend| backend.address.as_ref()) {
        let Some(port) = address.value.1 else { continue };
        let message = format!(
            "nat cannot bring ports {} of service {} to port {port}: replies would not tell which one a client asked for",
            wide.value,
            quoted(name)
        );
        let hint = "leave the port out of the backend's address, or use mode = \"full-nat\"";
        let problem = Problem::relation(address.span.clone(), message, hint);
        problems.push(problem.related(wide.span.clone(), "the ports"));
    }
}

/// Where the replies of a single port come from, if backend and VIP have one family.
fn reply_source(replier: Replier<'_>) -> Option<(IpAddr, u16, Protocol)> {
    let Replier { frontend, backend } = replier;
    let (address, port) = backend.address.as_ref()?.value;
    let same_family = address.is_ipv4() == frontend.vip.value.is_ipv4();
    frontend.vip.value.single().filter(|_| same_family)?;
    let own = frontend.ports.value.one()?;
    Some((address, port.unwrap_or(own), frontend.protocol))
}

/// The places that differ: the two backends, else the two VIPs, else the two ports.
fn places(first: Replier<'_>, second: Replier<'_>) -> (Span, Span) {
    if is_same_frontend(first, second) {
        (first.backend.span.clone(), second.backend.span.clone())
    } else if first.frontend.vip.span == second.frontend.vip.span {
        (first.frontend.ports.span.clone(), second.frontend.ports.span.clone())
    } else {
        (first.frontend.vip.span.clone(), second.frontend.vip.span.clone())
    }
}

fn is_same_frontend(first: Replier<'_>, second: Replier<'_>) -> bool {
    first.frontend.vip.span == second.frontend.vip.span
        && first.frontend.ports.span == second.frontend.ports.span
}

fn is_written_alike(first: &BackendDraft, second: &BackendDraft) -> bool {
    first.address.as_ref().map(|at| at.value) == second.address.as_ref().map(|at| at.value)
}

fn clash(first: Replier<'_>, second: Replier<'_>, source: SocketAddr) -> Problem {
    let (_, span) = places(first, second);
    if is_same_frontend(first, second) {
        let message = format!(
            "{} and {} both serve {} at {source}",
            first.backend.shown(),
            second.backend.shown(),
            second.frontend.shown()
        );
        return Problem::relation(span, message, "remove one of them, or give it another port");
    }
    let message = format!(
        "nat cannot tell replies to {} from replies to {}: {} answers both from {source}",
        second.frontend.shown(),
        first.frontend.shown(),
        second.backend.shown()
    );
    let hint = if first.frontend.ports.value == second.frontend.ports.value {
        "give one of them a pool whose backends have another port, or use mode = \"dsr-l2\" or \"dsr-ipip\""
    } else {
        "leave the port out of the backend's address, so that each port keeps its own, or use another \
         backend port or a DSR mode"
    };
    Problem::relation(span, message, hint)
}
