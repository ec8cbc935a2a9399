//! Frontends: each VIP, port and protocol belongs to one service; DSR backends keep the service's port.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::{mode_name, protocol_name, served, services};
use crate::config::draft::{BackendDraft, Draft, ServiceDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::model::{ForwardMode, Protocol};

/// A frontend and where its VIP and its port are written.
#[derive(Clone, Copy)]
pub(super) struct PlacedFrontend<'d> {
    pub service: &'d str,
    pub vip: &'d At<IpAddr>,
    pub port: &'d At<u16>,
    pub protocol: Protocol,
}

impl PlacedFrontend<'_> {
    pub fn shown(&self) -> String {
        format!("{}/{}", SocketAddr::new(self.vip.value, self.port.value), protocol_name(self.protocol))
    }
}

/// Every frontend of a service: each VIP with each port. None if the protocol could not be read.
pub(super) fn placed<'d>(
    name: &'d str,
    service: &'d ServiceDraft,
) -> impl Iterator<Item = PlacedFrontend<'d>> {
    service.protocol.into_iter().flat_map(move |protocol| {
        service.vips.iter().flat_map(move |vip| {
            service.ports.iter().map(move |port| PlacedFrontend { service: name, vip, port, protocol })
        })
    })
}

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    check_duplicates(draft, problems);
    check_dsr_ports(draft, problems);
}

fn check_duplicates(draft: &Draft, problems: &mut Problems) {
    let mut owners: HashMap<(IpAddr, u16, Protocol), PlacedFrontend<'_>> = HashMap::new();
    for (name, service) in services(draft) {
        for frontend in placed(name, service) {
            let key = (frontend.vip.value, frontend.port.value, frontend.protocol);
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

fn check_dsr_ports(draft: &Draft, problems: &mut Problems) {
    for (service_name, service, _, pool) in served(draft) {
        let Some(mode) = pool.mode.as_ref().map(|mode| mode.value) else { continue };
        if mode == ForwardMode::Nat {
            continue;
        }
        for backend in &pool.backends {
            let Some((written, port)) = written_port(backend) else { continue };
            let Some(other) = service.ports.iter().find(|service_port| service_port.value != port) else {
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
