//! `[services.NAME]`: where clients connect, and the pool that serves them.

use std::fmt::Display;
use std::net::IpAddr;

use super::Named;
use crate::config::address::parse_host;
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::config::table::TableReader;
use crate::model::{Protocol, Service};

/// A service and where its parts are written.
pub(in crate::config) struct ServiceDraft {
    pub name_span: Span,
    pub vips: Vec<At<IpAddr>>,
    pub ports: Vec<At<u16>>,
    pub protocol: Option<Protocol>,
    pub pool: Option<At<String>>,
}

impl ServiceDraft {
    pub fn read(named: Named<'_>, problems: &mut Problems) -> Self {
        let Named { what, name_span, table } = named;
        let mut reader = TableReader::new(what, name_span.clone(), table);
        let vips = reader
            .required("vips", "vips = [\"203.0.113.10\"]", problems)
            .map(|field| read_list(field, "VIP", read_vip, problems))
            .unwrap_or_default();
        let ports = reader
            .required("ports", "ports = [80]", problems)
            .map(|field| read_list(field, "port", |element, problems| element.port(problems), problems))
            .unwrap_or_default();
        let protocol = reader
            .required("protocol", "protocol = \"tcp\" or protocol = \"udp\"", problems)
            .and_then(|field| field.choice(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)], problems))
            .map(|protocol| protocol.value);
        let pool = reader
            .required("pool", "pool = \"…\" with the name of a pool", problems)
            .and_then(|field| field.string(problems))
            .map(|pool| At::new(pool.value.to_owned(), pool.span));
        reader.finish(problems);
        Self { name_span, vips, ports, protocol, pool }
    }

    /// How many frontends the service has.
    pub fn frontend_count(&self) -> usize {
        self.vips.len().saturating_mul(self.ports.len())
    }

    pub fn into_service(self) -> Option<Service> {
        Some(Service {
            vips: self.vips.into_iter().map(|vip| vip.value).collect(),
            ports: self.ports.into_iter().map(|port| port.value).collect(),
            protocol: self.protocol?,
            pool: self.pool?.value,
        })
    }
}

/// Reads an array that must not be empty and must not repeat itself.
fn read_list<T: Ord + Copy + Display>(
    field: Field<'_>,
    noun: &str,
    read: impl Fn(Field<'_>, &mut Problems) -> Option<At<T>>,
    problems: &mut Problems,
) -> Vec<At<T>> {
    let Some(elements) = field.elements(problems) else { return Vec::new() };
    if elements.is_empty() {
        let hint = format!("write at least one {noun}");
        field.refuse::<()>(format!("`{}` is empty", field.key), hint, problems);
    }
    let mut first_spans = std::collections::BTreeMap::<T, Span>::new();
    let mut list = Vec::new();
    for element in elements {
        let Some(item) = read(element, problems) else { continue };
        if let Some(first) = first_spans.get(&item.value) {
            let message = format!("{noun} {} is listed twice", item.value);
            let problem = Problem::value(item.span, message, "leave one of them out");
            problems.push(problem.related(first.clone(), "first listed here"));
        } else {
            first_spans.insert(item.value, item.span.clone());
            list.push(item);
        }
    }
    list
}

fn read_vip(element: Field<'_>, problems: &mut Problems) -> Option<At<IpAddr>> {
    let text = element.string(problems)?;
    match parse_host(text.value) {
        Ok(address) => Some(At::new(address, text.span)),
        Err(error) => {
            element.refuse(format!("`vips`: {} {}", quoted(text.value), error.reason), error.hint, problems)
        }
    }
}
