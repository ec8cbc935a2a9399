//! `[node]`: what belongs to this node alone.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::config::address::parse_network;
use crate::config::bounds::{
    DEFAULT_BPFFS, DEFAULT_CONTROL_SOCKET, INTERFACE_BYTES, LIMIT_BACKENDS, LIMIT_FLOWS, LIMIT_SERVICES,
    LIMIT_SESSIONS, LIMIT_SLOTS, MAX_PATH_BYTES, MAX_SOCKET_PATH_BYTES,
};
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::config::table::TableReader;
use crate::model::{DatapathLog, Limits, Node, Prefix, VipOwnership, XdpMode};

const VIP_CHOICES: [(&str, VipOwnership); 2] =
    [("assign", VipOwnership::Assign), ("external", VipOwnership::External)];
const XDP_CHOICES: [(&str, XdpMode); 3] =
    [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
const LOG_CHOICES: [(&str, DatapathLog); 4] = [
    ("off", DatapathLog::Off),
    ("warn", DatapathLog::Warn),
    ("info", DatapathLog::Info),
    ("debug", DatapathLog::Debug),
];

/// The node and where its limits are written.
pub(in crate::config) struct NodeDraft {
    pub node: Option<Node>,
    pub limits: LimitsDraft,
}

/// The limits; the place is `None` for a default.
pub(in crate::config) struct LimitsDraft {
    pub services: (u32, Option<Span>),
    pub backends: (u32, Option<Span>),
    pub slots: (u32, Option<Span>),
    pub flows: (u32, Option<Span>),
    pub sessions: (u32, Option<Span>),
}

impl NodeDraft {
    pub fn read(field: Field<'_>, span: Span, problems: &mut Problems) -> Option<Self> {
        let mut reader = TableReader::new("[node]", span, field.table(problems)?);
        let interfaces = reader
            .required("interfaces", "interfaces = [\"eth0\"]", problems)
            .and_then(|field| read_interfaces(field, problems));
        let vips = optional_choice(reader.optional("vips"), &VIP_CHOICES, problems);
        let xdp_mode = optional_choice(reader.optional("xdp_mode"), &XDP_CHOICES, problems);
        let datapath_log = optional_choice(reader.optional("datapath_log"), &LOG_CHOICES, problems);
        let tunnel_sources = reader
            .optional("tunnel_sources")
            .map_or_else(|| Some(Vec::new()), |field| read_tunnel_sources(field, problems));
        let socket_field = reader.optional("control_socket");
        let control_socket = read_path(socket_field, DEFAULT_CONTROL_SOCKET, MAX_SOCKET_PATH_BYTES, problems);
        let bpffs = read_path(reader.optional("bpffs"), DEFAULT_BPFFS, MAX_PATH_BYTES, problems);
        let limits = LimitsDraft::read(reader.optional("limits"), problems);
        reader.finish(problems);
        let sizes = limits.sizes();
        let node = || {
            Some(Node {
                interfaces: interfaces?,
                vips: vips?,
                xdp_mode: xdp_mode?,
                datapath_log: datapath_log?,
                tunnel_sources: tunnel_sources?,
                control_socket: control_socket?,
                bpffs: bpffs?,
                limits: sizes,
            })
        };
        Some(Self { node: node(), limits })
    }
}

impl LimitsDraft {
    /// The limits of a file that has no `[node]`.
    pub fn defaults() -> Self {
        let Limits { services, backends, slots, flows, sessions } = Limits::default();
        Self {
            services: (services, None),
            backends: (backends, None),
            slots: (slots, None),
            flows: (flows, None),
            sessions: (sessions, None),
        }
    }

    fn read(field: Option<Field<'_>>, problems: &mut Problems) -> Self {
        let mut limits = Self::defaults();
        let Some(field) = field else { return limits };
        let Some(table) = field.table(problems) else { return limits };
        let mut reader = TableReader::new("[node.limits]", field.span(), table);
        read_limit(reader.optional("services"), &LIMIT_SERVICES, &mut limits.services, problems);
        read_limit(reader.optional("backends"), &LIMIT_BACKENDS, &mut limits.backends, problems);
        read_limit(reader.optional("slots"), &LIMIT_SLOTS, &mut limits.slots, problems);
        read_limit(reader.optional("flows"), &LIMIT_FLOWS, &mut limits.flows, problems);
        read_limit(reader.optional("sessions"), &LIMIT_SESSIONS, &mut limits.sessions, problems);
        reader.finish(problems);
        limits
    }

    fn sizes(&self) -> Limits {
        Limits {
            services: self.services.0,
            backends: self.backends.0,
            slots: self.slots.0,
            flows: self.flows.0,
            sessions: self.sessions.0,
        }
    }
}

fn read_limit(
    field: Option<Field<'_>>,
    range: &RangeInclusive<u32>,
    limit: &mut (u32, Option<Span>),
    problems: &mut Problems,
) {
    if let Some(number) = field.and_then(|field| field.integer(range, problems)) {
        *limit = (number.value, Some(number.span));
    }
}

/// The chosen value, or the first choice, which is the default.
fn optional_choice<T: Copy>(
    field: Option<Field<'_>>,
    choices: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    match field {
        Some(field) => field.choice(choices, problems).map(|choice| choice.value),
        None => choices.first().map(|(_, default)| *default),
    }
}

fn read_interfaces(field: Field<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let elements = field.elements(problems)?;
    if elements.is_empty() {
        let hint = "name at least one, such as interfaces = [\"eth0\"]; `ip link` lists them";
        return field.refuse("`interfaces` is empty", hint, problems);
    }
    let mut interfaces: Vec<At<&str>> = Vec::new();
    for element in elements {
        let Some(name) = element.string(problems) else { continue };
        if !is_interface_name(name.value) {
            let message = format!("`interfaces`: {} cannot be the name of an interface", quoted(name.value));
            let hint = "use 1 to 15 bytes without spaces, `/` and `:`; `ip link` lists the interfaces";
            problems.push(Problem::value(name.span, message, hint));
        } else if let Some(first) = interfaces.iter().find(|first| first.value == name.value) {
            let message = format!("interface {} is listed twice", quoted(name.value));
            let problem = Problem::value(name.span, message, "leave one of them out");
            problems.push(problem.related(first.span.clone(), "first listed here"));
        } else {
            interfaces.push(name);
        }
    }
    Some(interfaces.into_iter().map(|name| name.value.to_owned()).collect())
}

/// What the kernel accepts (`dev_valid_name` in net/core/dev.c).
fn is_interface_name(name: &str) -> bool {
    INTERFACE_BYTES.contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))
}

fn read_tunnel_sources(field: Field<'_>, problems: &mut Problems) -> Option<Vec<Prefix>> {
    let mut sources: Vec<At<Prefix>> = Vec::new();
    for element in field.elements(problems)? {
        let Some(text) = element.string(problems) else { continue };
        match parse_network(text.value) {
            Err(error) => {
                let message = format!("`tunnel_sources`: {} {}", quoted(text.value), error.reason);
                problems.push(Problem::value(text.span, message, error.hint));
            }
            Ok(network) => {
                if let Some(first) = sources.iter().find(|first| first.value.is_ipv4() == network.is_ipv4()) {
                    let family = crate::config::rules::family_name(network.address());
                    let message = format!("`tunnel_sources` has a second {family} address");
                    let hint = "keep one address or network per family";
                    let problem = Problem::value(text.span, message, hint);
                    problems.push(problem.related(first.span.clone(), "first address of the family"));
                } else {
                    sources.push(At::new(network, text.span));
                }
            }
        }
    }
    Some(sources.into_iter().map(|source| source.value).collect())
}

fn read_path(
    field: Option<Field<'_>>,
    default: &str,
    most_bytes: usize,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let Some(field) = field else { return Some(PathBuf::from(default)) };
    let text = field.string(problems)?;
    let key = field.key;
    if !Path::new(text.value).is_absolute() || text.value.contains(char::is_control) {
        let message = format!("`{key}`: {} is not an absolute path", quoted(text.value));
        return field.refuse(message, format!("write a path such as \"{default}\""), problems);
    }
    if text.value.len() > most_bytes {
        let hint = format!("use at most {most_bytes} bytes");
        return field.refuse(format!("`{key}`: the path is too long"), hint, problems);
    }
    Some(PathBuf::from(text.value))
}
