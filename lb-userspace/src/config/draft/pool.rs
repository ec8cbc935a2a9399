//! `[pools.NAME]`: backends with one forward mode and one health check.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::policy::PolicyDraft;
use super::{Named, check_name};
use crate::config::address::{parse_backend, parse_host};
use crate::config::bounds::{
    DEAD_AFTER, DEFAULT_POOL_SLOTS, DEFAULT_WEIGHT, FLOW_TIMEOUT, MAX_POOL_SNAT, POOL_SLOTS, SLOW_START,
    WEIGHT,
};
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::config::suggest;
use crate::config::table::TableReader;
use crate::model::{AdminState, Affinity, Backend, ForwardMode, Pool};

const MODE_CHOICES: [(&str, ForwardMode); 5] = [
    ("nat", ForwardMode::Nat),
    ("full-nat", ForwardMode::FullNat),
    ("dsr-l2", ForwardMode::DsrL2),
    ("dsr-ipip", ForwardMode::DsrIpip),
    ("dsr-gue", ForwardMode::DsrGue),
];
const AFFINITY_CHOICES: [(&str, Affinity); 3] =
    [("flow", Affinity::Flow), ("source", Affinity::Source), ("source-vip", Affinity::SourceVip)];
const STATE_CHOICES: [(&str, AdminState); 3] =
    [("active", AdminState::Active), ("drain", AdminState::Drain), ("maintenance", AdminState::Maintenance)];

/// A pool and where its parts are written.
pub(in crate::config) struct PoolDraft {
    pub name_span: Span,
    pub mode: Option<At<ForwardMode>>,
    pub check: Option<At<String>>,
    /// A default has the place of the pool's name.
    pub slots: Option<At<u32>>,
    pub changes: ChangesDraft,
    pub policy: PolicyDraft,
    pub gue_port: Option<At<u16>>,
    pub snat: Option<SnatDraft>,
    pub backends: Vec<BackendDraft>,
}

/// Addresses to send from, and where they are written.
pub(in crate::config) struct SnatDraft {
    pub span: Span,
    pub addresses: Vec<At<IpAddr>>,
}

/// What becomes of flows while backends come and go. `None` is a default, or what could not be read.
pub(in crate::config) struct ChangesDraft {
    affinity: Option<Affinity>,
    flow_timeout: Option<Duration>,
    slow_start: Option<Duration>,
    pub dead_after: Option<At<Duration>>,
}

/// A backend and where its parts are written.
pub(in crate::config) struct BackendDraft {
    pub span: Span,
    pub name: Option<At<String>>,
    pub address: Option<At<(IpAddr, Option<u16>)>>,
    weight: Option<u32>,
    state: Option<AdminState>,
}

impl PoolDraft {
    pub fn read(named: Named<'_>, problems: &mut Problems) -> Self {
        let Named { what, name_span, table } = named;
        let mut reader = TableReader::new(what, name_span.clone(), table);
        let mode = reader
            .required(
                "mode",
                "mode = \"nat\", \"full-nat\", \"dsr-l2\", \"dsr-ipip\" or \"dsr-gue\"",
                problems,
            )
            .and_then(|field| field.choice(&MODE_CHOICES, problems));
        let check = reader
            .optional("check")
            .and_then(|field| field.string(problems))
            .map(|check| At::new(check.value.to_owned(), check.span));
        let slots = match reader.optional("slots") {
            Some(field) => read_slots(field, problems),
            None => Some(At::new(DEFAULT_POOL_SLOTS, name_span.clone())),
        };
        let changes = ChangesDraft::read(&mut reader, problems);
        let policy = PolicyDraft::read(&mut reader, problems);
        let gue_port = reader.optional("gue_port").and_then(|field| field.port(problems));
        let snat = reader.optional("snat").and_then(|field| SnatDraft::read(field, problems));
        let backends = reader
            .optional("backends")
            .and_then(|field| field.elements(problems))
            .unwrap_or_default()
            .into_iter()
            .filter_map(|element| BackendDraft::read(element, problems))
            .collect();
        reader.finish(problems);
        Self { name_span, mode, check, slots, changes, policy, gue_port, snat, backends }
    }

    pub fn into_pool(self) -> Option<Pool> {
        let mode = self.mode?.value;
        let backends =
            self.backends.into_iter().map(|backend| backend.into_backend(mode)).collect::<Option<_>>()?;
        let defaults = Pool::new(mode, self.slots?.value);
        let changes = self.changes;
        Some(Pool {
            check: self.check.map(|check| check.value),
            affinity: changes.affinity.unwrap_or(defaults.affinity),
            flow_timeout: changes.flow_timeout.unwrap_or(defaults.flow_timeout),
            slow_start: changes.slow_start.unwrap_or(defaults.slow_start),
            dead_after: changes.dead_after.map_or(defaults.dead_after, |time| time.value),
            policy: self.policy.into_policy(),
            gue_port: self.gue_port.map_or(defaults.gue_port, |port| port.value),
            snat: self
                .snat
                .map_or(defaults.snat, |snat| snat.addresses.into_iter().map(|at| at.value).collect()),
            backends,
            ..defaults
        })
    }
}

impl SnatDraft {
    fn read(field: Field<'_>, problems: &mut Problems) -> Option<Self> {
        let elements = field.elements(problems)?;
        if elements.len() > MAX_POOL_SNAT {
            let message = format!("`snat` has {} addresses", elements.len());
            return field.refuse(message, format!("write at most {MAX_POOL_SNAT}"), problems);
        }
        let mut addresses: Vec<At<IpAddr>> = Vec::new();
        for element in elements {
            let Some(text) = element.string(problems) else { continue };
            match parse_host(text.value) {
                Err(error) => {
                    let message = format!("`snat`: {} {}", quoted(text.value), error.reason);
                    problems.push(Problem::value(text.span, message, error.hint));
                }
                Ok(address) => match addresses.iter().find(|first| first.value == address) {
                    Some(first) => {
                        let message = format!("address {address} is listed twice");
                        let problem = Problem::value(text.span, message, "leave one of them out");
                        problems.push(problem.related(first.span.clone(), "first listed here"));
                    }
                    None => addresses.push(At::new(address, text.span)),
                },
            }
        }
        Some(Self { span: field.span(), addresses })
    }
}

impl ChangesDraft {
    fn read(reader: &mut TableReader<'_>, problems: &mut Problems) -> Self {
        let affinity =
            reader.optional("affinity").and_then(|field| field.choice(&AFFINITY_CHOICES, problems));
        let mut duration = |key, range: &RangeInclusive<Duration>| {
            reader.optional(key).and_then(|field| field.duration(range, problems))
        };
        Self {
            affinity: affinity.map(|affinity| affinity.value),
            flow_timeout: duration("flow_timeout", &FLOW_TIMEOUT).map(|time| time.value),
            slow_start: duration("slow_start", &SLOW_START).map(|time| time.value),
            dead_after: duration("dead_after", &DEAD_AFTER),
        }
    }
}

fn read_slots(field: Field<'_>, problems: &mut Problems) -> Option<At<u32>> {
    let slots = field.integer(&POOL_SLOTS, problems)?;
    if suggest::is_prime(slots.value) {
        return Some(slots);
    }
    let primes: Vec<String> =
        suggest::nearest_slot_primes(slots.value).iter().map(ToString::to_string).collect();
    let hint = format!("the nearest primes are {}", primes.join(" and "));
    field.refuse(format!("`slots`: {} is not a prime number", slots.value), hint, problems)
}

impl BackendDraft {
    fn read(element: Field<'_>, problems: &mut Problems) -> Option<Self> {
        const EXAMPLE: &str = "write { name = \"web1\", address = \"10.0.0.11:80\" }";
        if element.value.get_ref().as_table().is_none() {
            let found = element.value.get_ref().type_str();
            let message = format!("`backends`: expected a table, found a value of type {found}");
            return element.refuse(message, EXAMPLE, problems);
        }
        let table = element.table(problems)?;
        let mut reader = TableReader::new("a backend", element.span(), table);
        let name = reader
            .required("name", "name = \"web1\"", problems)
            .and_then(|field| field.string(problems))
            .filter(|name| check_name(name.value, "backend", &name.span, problems))
            .map(|name| At::new(name.value.to_owned(), name.span));
        let address = reader
            .required("address", "address = \"10.0.0.11:80\"", problems)
            .and_then(|field| read_address(field, problems));
        let weight = match reader.optional("weight") {
            Some(field) => field.integer(&WEIGHT, problems).map(|weight| weight.value),
            None => Some(DEFAULT_WEIGHT),
        };
        let state = match reader.optional("state") {
            Some(field) => field.choice(&STATE_CHOICES, problems).map(|state| state.value),
            None => Some(AdminState::Active),
        };
        reader.finish(problems);
        Some(Self { span: element.span(), name, address, weight, state })
    }

    /// What messages call the backend.
    pub fn shown(&self) -> String {
        self.name.as_ref().map_or_else(|| "backend".to_owned(), |name| format!("backend `{}`", name.value))
    }

    /// Whether new flows may go to it.
    pub fn takes_flows(&self) -> bool {
        self.weight != Some(0) && matches!(self.state, None | Some(AdminState::Active))
    }

    fn into_backend(self, mode: ForwardMode) -> Option<Backend> {
        let (address, port) = self.address?.value;
        // In the DSR modes the rules have made sure that a port, where written, is the service's own.
        let port = port.filter(|_| mode.changes_ports());
        let (name, weight, state) = (self.name?.value, self.weight?, self.state?);
        Some(Backend { name, address, port, weight, state, standby_of: None })
    }
}

fn read_address(field: Field<'_>, problems: &mut Problems) -> Option<At<(IpAddr, Option<u16>)>> {
    let text = field.string(problems)?;
    match parse_backend(text.value) {
        Ok(address) => Some(At::new(address, text.span)),
        Err(error) => {
            field.refuse(format!("`address`: {} {}", quoted(text.value), error.reason), error.hint, problems)
        }
    }
}
