//! `[services.NAME]`: where clients connect, and the pool that serves them.

use std::fmt::Display;

use super::Named;
use crate::config::address::parse_network;
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::config::table::TableReader;
use crate::model::{Ports, Prefix, Protocol, Service};

/// A service and where its parts are written.
pub(in crate::config) struct ServiceDraft {
    pub name_span: Span,
    pub vips: Vec<At<Prefix>>,
    pub ports: Vec<At<Ports>>,
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
            .map(|field| read_ports(field, problems))
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

/// `[80, "443", "30000-32767"]`, or `"any"`.
fn read_ports(field: Field<'_>, problems: &mut Problems) -> Vec<At<Ports>> {
    if field.value.get_ref().as_str() == Some(ANY) {
        return vec![field.at(Ports::Any)];
    }
    let mut list = read_list(field, "port", read_port, problems);
    refuse_overlaps(&mut list, problems);
    list
}

/// What stands for any port.
const ANY: &str = "any";

fn read_port(element: Field<'_>, problems: &mut Problems) -> Option<At<Ports>> {
    if element.value.get_ref().is_integer() {
        return element.port(problems).map(|port| At::new(Ports::One(port.value), port.span));
    }
    let text = element.string(problems)?.value;
    let port = |part: &str| part.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first == last => Some(element.at(Ports::One(first))),
        (Some(first), Some(last)) if first < last => Some(element.at(Ports::Range(first, last))),
        _ => {
            let message = format!("`ports`: {} is not a port or a range", quoted(text));
            let hint = if text == ANY {
                "write ports = \"any\", without brackets"
            } else {
                "write 443, \"443\" or \"30000-32767\", within 1 to 65535"
            };
            element.refuse(message, hint, problems)
        }
    }
}

/// Leaves ranges out that share ports with one before them; a single port within a range is no overlap.
fn refuse_overlaps(list: &mut Vec<At<Ports>>, problems: &mut Problems) {
    let mut ranges: Vec<At<Ports>> =
        list.iter().filter(|ports| ports.value.one().is_none()).cloned().collect();
    ranges.sort_by_key(|range| (*range.value.all().start(), range.span.start));
    let mut refused: Vec<Span> = Vec::new();
    let mut furthest: Option<&At<Ports>> = None;
    for range in &ranges {
        match furthest.filter(|before| before.value.overlap(range.value)) {
            None => furthest = Some(range),
            Some(before) => {
                let (first, second) =
                    if before.span.start < range.span.start { (before, range) } else { (range, before) };
                let message = format!("the ports {} and {} overlap", first.value, second.value);
                let problem = Problem::value(second.span.clone(), message, "make one range of them");
                problems.push(problem.related(first.span.clone(), "the first"));
                refused.push(range.span.clone());
            }
        }
    }
    list.retain(|ports| !refused.contains(&ports.span));
}

fn read_vip(element: Field<'_>, problems: &mut Problems) -> Option<At<Prefix>> {
    let text = element.string(problems)?;
    match parse_network(text.value) {
        Ok(address) => Some(At::new(address, text.span)),
        Err(error) => {
            element.refuse(format!("`vips`: {} {}", quoted(text.value), error.reason), error.hint, problems)
        }
    }
}
