//! `[checks.NAME]`: a health check.
//!
//! Role: what every kind has, and which keys belong to which kind; the keys of the kinds are read in modules of their own.

mod http;
mod mysql;
mod others;
mod times;
mod tls;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::Named;
use crate::config::address::parse_host;
use crate::config::bounds::{CHECK_COUNT, DEFAULT_FALL, DEFAULT_RISE, MAX_PATH_BYTES};
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::{At, Span};
use crate::config::table::TableReader;
use crate::model::{Check, CheckKind};
use times::Times;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Udp,
    Dns,
    Grpc,
    Mysql,
    Exec,
    Agent,
}

const KINDS: [(&str, Kind); 9] = [
    ("tcp", Kind::Tcp),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("udp", Kind::Udp),
    ("dns", Kind::Dns),
    ("grpc", Kind::Grpc),
    ("mysql", Kind::Mysql),
    ("exec", Kind::Exec),
    ("agent", Kind::Agent),
];

/// A check and where its parts are written.
pub(in crate::config) struct CheckDraft {
    pub name_span: Span,
    pub source: Option<At<IpAddr>>,
    pub check: Option<Check>,
}

impl CheckDraft {
    pub fn read(named: Named<'_>, problems: &mut Problems) -> Self {
        let Named { what, name_span, table } = named;
        let mut reader = TableReader::new(what, name_span.clone(), table);
        let kind = read_kind(&mut reader, problems);
        let times = Times::read(&mut reader, problems);
        let rise = read_count(reader.optional("rise"), DEFAULT_RISE, problems);
        let fall = read_count(reader.optional("fall"), DEFAULT_FALL, problems);
        let damping = or_default(reader.optional("damping"), true, |field| field.boolean(problems));
        let port = or_default(reader.optional("port"), None, |field| {
            field.port(problems).map(|port| Some(port.value))
        });
        let source =
            or_default(reader.optional("source"), None, |field| read_source(field, problems).map(Some));
        reader.finish(problems);
        let check = || {
            let Times { interval, timeout, jitter } = times?;
            let source = source.as_ref()?.as_ref().map(|source| source.value);
            let (rise, fall, damping, port) = (rise?, fall?, damping?, port?);
            Some(Check { kind: kind?, interval, timeout, rise, fall, jitter, damping, port, source })
        };
        Self { name_span, check: check(), source: source.flatten() }
    }
}

fn read_kind(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<CheckKind> {
    const EXAMPLE: &str = "kind = \"tcp\" or kind = \"http\"";
    let word = reader
        .required("kind", EXAMPLE, problems)
        .and_then(|field| field.choice(&KINDS, problems))
        .map(|word| word.value);
    // Without a kind the commonest keys are read all the same, so that what is wrong with them is reported now.
    let kind = word.unwrap_or(Kind::Http);
    refuse_keys_of_others(reader, word, problems);
    let read = match kind {
        Kind::Tcp => Some(CheckKind::Tcp),
        Kind::Http => http::read(reader, false, problems).map(CheckKind::Http),
        Kind::Https => http::read(reader, true, problems).map(CheckKind::Http),
        Kind::Udp => others::read_udp(reader, problems).map(CheckKind::Udp),
        Kind::Dns => others::read_dns(reader, problems).map(CheckKind::Dns),
        Kind::Grpc => others::read_grpc(reader, problems).map(CheckKind::Grpc),
        Kind::Mysql => mysql::read(reader, problems).map(CheckKind::Mysql),
        Kind::Exec => others::read_exec(reader, problems).map(CheckKind::Exec),
        Kind::Agent => others::read_agent(reader, problems).map(CheckKind::Agent),
    };
    word.and(read)
}

/// Whether a key belongs to a kind.
fn has_key(kind: Kind, key: &str) -> bool {
    match kind {
        Kind::Tcp => false,
        Kind::Http => http::KEYS.contains(&key),
        Kind::Https => http::KEYS.contains(&key) || tls::KEYS.contains(&key),
        Kind::Udp => others::UDP_KEYS.contains(&key),
        Kind::Dns => others::DNS_KEYS.contains(&key),
        Kind::Grpc => others::GRPC_KEYS.contains(&key) || tls::KEYS.contains(&key),
        Kind::Mysql => mysql::KEYS.contains(&key),
        Kind::Exec => others::EXEC_KEYS.contains(&key),
        Kind::Agent => others::AGENT_KEYS.contains(&key),
    }
}

/// Reports keys that have a meaning in other kinds only. With an unknown kind all of them may be meant.
fn refuse_keys_of_others(reader: &mut TableReader<'_>, kind: Option<Kind>, problems: &mut Problems) {
    let keys: [&[&'static str]; 8] = [
        &http::KEYS,
        &tls::KEYS,
        &others::UDP_KEYS,
        &others::DNS_KEYS,
        &others::GRPC_KEYS,
        &mysql::KEYS,
        &others::EXEC_KEYS,
        &others::AGENT_KEYS,
    ];
    for key in keys.into_iter().flatten() {
        if !reader.has_left(key) || kind.is_some_and(|kind| has_key(kind, key)) {
            continue;
        }
        reader.optional(key);
        let Some(kind) = kind else { continue };
        let name_of = |wanted| KINDS.iter().find(|(_, kind)| *kind == wanted).map_or("", |(name, _)| name);
        let others: Vec<String> = KINDS
            .iter()
            .filter(|(_, other)| has_key(*other, key))
            .map(|(name, _)| format!("kind = \"{name}\""))
            .collect();
        let span = reader.key_span(key).unwrap_or_default();
        let message = format!("`{key}` has no meaning in a check of kind \"{}\"", name_of(kind));
        problems.push(Problem::value(span, message, format!("remove it, or write {}", others.join(" or "))));
    }
}

/// What a key says, or its default where it is missing; none if it cannot be read, which `read` has reported.
fn or_default<T>(
    field: Option<Field<'_>>,
    default: T,
    read: impl FnOnce(Field<'_>) -> Option<T>,
) -> Option<T> {
    field.map_or(Some(default), read)
}

fn read_count(field: Option<Field<'_>>, default: u32, problems: &mut Problems) -> Option<u32> {
    or_default(field, default, |field| field.integer(&CHECK_COUNT, problems).map(|count| count.value))
}

fn read_source(field: Field<'_>, problems: &mut Problems) -> Option<At<IpAddr>> {
    let text = field.string(problems)?;
    match parse_host(text.value) {
        Ok(address) => Some(At::new(address, text.span)),
        Err(error) => {
            field.refuse(format!("`source`: {} {}", quoted(text.value), error.reason), error.hint, problems)
        }
    }
}

/// An absolute path.
fn read_path(field: Field<'_>, problems: &mut Problems) -> Option<PathBuf> {
    let text = field.string(problems)?.value;
    if !text.starts_with('/') || text.len() > MAX_PATH_BYTES || text.contains('\0') {
        let message = format!("`{}`: {} is not an absolute path", field.key, quoted(text));
        return field.refuse(message, "write the whole path, from the slash on", problems);
    }
    Some(PathBuf::from(text))
}

/// Text on one line that is nobody's business: what is wrong with it is said without it.
fn read_secret(field: Field<'_>, bytes: RangeInclusive<usize>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    if !bytes.contains(&text.len()) || text.chars().any(char::is_control) {
        let hint = format!("write {} to {} bytes without control characters", bytes.start(), bytes.end());
        return field.refuse(format!("`{}` cannot be used", field.key), hint, problems);
    }
    Some(text.to_owned())
}

/// Text on one line.
fn read_line(field: Field<'_>, bytes: RangeInclusive<usize>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    if !bytes.contains(&text.len()) || text.chars().any(char::is_control) {
        let message = format!("`{}`: {} cannot be used", field.key, quoted(text));
        let hint = format!("write {} to {} bytes without control characters", bytes.start(), bytes.end());
        return field.refuse(message, hint, problems);
    }
    Some(text.to_owned())
}
