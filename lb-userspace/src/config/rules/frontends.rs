//! Frontends: each VIP, port (or range, or any) and protocol belongs to one service; DSR backends keep the service's port.

use std::collections::{HashMap, HashSet};

use super::{mode_name, protocol_name, served, services};
use crate::config::draft::{BackendDraft, Draft, ServiceDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::model::{Frontend, Ports, Prefix, Protocol};

/// A frontend and where its VIP and its port are written.
#[derive(Clone, Copy)]
pub(super) struct PlacedFrontend<'d> {
    pub service: &'d str,
    pub vip: &'d At<Prefix>,
    pub ports: &'d At<Ports>,
    pub protocol: Protocol,
}

impl PlacedFrontend<'_> {
    pub fn shown(&self) -> String {
        let frontend = Frontend { vip: self.vip.value, ports: self.ports.value, protocol: self.protocol };
        format!("{frontend}/{}", protocol_name(self.protocol))
    }
}

/// Every frontend of a service: each VIP with each port. None if the protocol could not be read.
pub(super) fn placed<'d>(
    name: &'d str,
    service: &'d ServiceDraft,
) -> impl Iterator<Item = PlacedFrontend<'d>> {
    service.protocol.into_iter().flat_map(move |protocol| {
        service.vips.iter().flat_map(move |vip| {
            service.ports.iter().map(move |ports| PlacedFrontend { service: name, vip, ports, protocol })
        })
    })
}

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    check_duplicates(draft, problems);
    check_ranges(draft, problems);
    check_dsr_ports(draft, problems);
}

fn check_duplicates(draft: &Draft, problems: &mut Problems) {
    let mut owners: HashMap<(Prefix, Ports, Protocol), PlacedFrontend<'_>> = HashMap::new();
    for (name, service) in services(draft) {
        for frontend in placed(name, service) {
            let key = (frontend.vip.value, frontend.ports.value, frontend.protocol);
            let Some(first) = owners.get(&key).copied() else {
                owners.insert(key, frontend);
                continue;
            };
            problems.push_with(|| {
                let message =
                    format!("{} is served by service {} already", frontend.shown(), quoted(first.service));
                let hint = "give one of the services another VIP, port or protocol";
                Problem::relation(frontend.vip.span.clone(), message, hint)
                    .related(first.vip.span.clone(), "first use")
            });
        }
    }
}

/// Ranges of two services on one VIP and protocol share no port. A service's own were looked at when they were read.
fn check_ranges(draft: &Draft, problems: &mut Problems) {
    let mut ranges: HashMap<(Prefix, Protocol), Vec<PlacedFrontend<'_>>> = HashMap::new();
    for (name, service) in services(draft) {
        for frontend in placed(name, service).filter(is_range) {
            ranges.entry((frontend.vip.value, frontend.protocol)).or_default().push(frontend);
        }
    }
    let mut reported = HashSet::new();
    for same_vip in ranges.values_mut() {
        same_vip.sort_by_key(|frontend| (*frontend.ports.value.all().start(), frontend.ports.span.start));
        let mut furthest: Option<PlacedFrontend<'_>> = None;
        for range in same_vip {
            let Some(before) = furthest.filter(|before| before.ports.value.overlap(range.ports.value)) else {
                furthest = Some(*range);
                continue;
            };
            // The same range twice is a duplicate, which was reported.
            if before.ports.value != range.ports.value {
                let spans = (before.ports.span.clone(), range.ports.span.clone());
                if reported.insert(spans) {
                    problems.push(overlap(before, *range));
                }
            }
            if range.ports.value.all().end() > before.ports.value.all().end() {
                furthest = Some(*range);
            }
        }
    }
}

fn is_range(frontend: &PlacedFrontend<'_>) -> bool {
    matches!(frontend.ports.value, Ports::Range(..))
}

fn overlap(one: PlacedFrontend<'_>, other: PlacedFrontend<'_>) -> Problem {
    let in_order = one.ports.span.start < other.ports.span.start;
    let (first, second) = if in_order { (one, other) } else { (other, one) };
    let message =
        format!("{} overlaps with {} of service {}", second.shown(), first.shown(), quoted(first.service));
    let hint =
        "let the ranges of one VIP and protocol end where others begin; single ports may lie within them";
    Problem::relation(second.ports.span.clone(), message, hint).related(first.ports.span.clone(), "the first")
}

fn check_dsr_ports(draft: &Draft, problems: &mut Problems) {
    for (service_name, service, _, pool) in served(draft) {
        let Some(mode) = pool.mode.as_ref().map(|mode| mode.value) else { continue };
        if mode.changes_ports() {
            continue;
        }
        for backend in &pool.backends {
            let Some((written, port)) = written_port(backend) else { continue };
            let Some(other) = service.ports.iter().find(|ports| ports.value.one() != Some(port)) else {
                continue;
            };
            let message = format!(
                "{} has port {port}, but service {} listens on port {}, and {} cannot change ports",
                backend.shown(),
                quoted(service_name),
                other.value,
                mode_name(mode)
            );
            let hint = "leave the port out of the backend's address, or use mode = \"nat\"";
            let problem = Problem::relation(written.clone(), message, hint);
            problems.push(problem.related(other.span.clone(), "the service's port"));
        }
    }
}

fn written_port(backend: &BackendDraft) -> Option<(&Span, u16)> {
    let address = backend.address.as_ref()?;
    address.value.1.map(|port| (&address.span, port))
}
