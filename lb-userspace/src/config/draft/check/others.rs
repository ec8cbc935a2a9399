//! The keys of the checks that have few: `udp`, `dns`, `grpc`, `exec`, `agent`.

use super::{or_default, read_line, tls};
use crate::config::bounds::{
    MAX_AGENT_LINE_BYTES, MAX_DATAGRAM_BYTES, MAX_DNS_LABEL_BYTES, MAX_DNS_NAME_BYTES, MAX_EXEC_ARGUMENTS,
    MAX_EXEC_BYTES, MAX_GRPC_SERVICE_BYTES,
};
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::table::TableReader;
use crate::model::{AgentCheck, DnsCheck, DnsType, ExecCheck, GrpcCheck, UdpCheck};

pub(super) const UDP_KEYS: [&str; 2] = ["send", "expect"];
pub(super) const DNS_KEYS: [&str; 4] = ["query", "record", "allow_empty", "tcp"];
pub(super) const GRPC_KEYS: [&str; 2] = ["service", "tls"];
pub(super) const EXEC_KEYS: [&str; 1] = ["command"];
pub(super) const AGENT_KEYS: [&str; 1] = ["send"];

const RECORDS: [(&str, DnsType); 7] = [
    ("A", DnsType::A),
    ("AAAA", DnsType::Aaaa),
    ("CNAME", DnsType::Cname),
    ("MX", DnsType::Mx),
    ("NS", DnsType::Ns),
    ("SOA", DnsType::Soa),
    ("TXT", DnsType::Txt),
];

pub(super) fn read_udp(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<UdpCheck> {
    let send =
        reader.required("send", "send = \"ping\"", problems).and_then(|field| read_bytes(field, problems));
    let expect = or_default(reader.optional("expect"), None, |field| read_bytes(field, problems).map(Some));
    Some(UdpCheck { send: send?, expect: expect? })
}

fn read_bytes(field: Field<'_>, problems: &mut Problems) -> Option<Vec<u8>> {
    let text = field.string(problems)?.value;
    if !(1..=MAX_DATAGRAM_BYTES).contains(&text.len()) {
        let message = format!("`{}` has {} bytes", field.key, text.len());
        return field.refuse(message, format!("write 1 to {MAX_DATAGRAM_BYTES}"), problems);
    }
    Some(text.as_bytes().to_vec())
}

pub(super) fn read_dns(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<DnsCheck> {
    let query = reader
        .required("query", "query = \"www.example.net\"", problems)
        .and_then(|field| read_dns_name(field, problems));
    let record = or_default(reader.optional("record"), DnsType::A, |field| {
        field.choice(&RECORDS, problems).map(|record| record.value)
    });
    let allow_empty = or_default(reader.optional("allow_empty"), false, |field| field.boolean(problems));
    let tcp = or_default(reader.optional("tcp"), false, |field| field.boolean(problems));
    Some(DnsCheck { query: query?, record: record?, allow_empty: allow_empty?, tcp: tcp? })
}

/// A name of at most 253 bytes, in labels of 1 to 63 (RFC 1035, 2.3.4); "." is the root.
fn read_dns_name(field: Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_DNS_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text == "." || (labels.len() <= MAX_DNS_NAME_BYTES && labels.split('.').all(is_label)) {
        return Some(text.to_owned());
    }
    let hint = "write a name such as \"www.example.net\"; names in other scripts as xn--…";
    field.refuse(format!("`query`: {} is not a DNS name", quoted(text)), hint, problems)
}

pub(super) fn read_grpc(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<GrpcCheck> {
    let service = or_default(reader.optional("service"), String::new(), |field| {
        read_line(field, 0..=MAX_GRPC_SERVICE_BYTES, problems)
    });
    let with_tls = or_default(reader.optional("tls"), false, |field| field.boolean(problems));
    if with_tls == Some(false)
        && let Some(key) = tls::KEYS.into_iter().find(|key| reader.optional(key).is_some())
    {
        let span = reader.key_span(key).unwrap_or_default();
        let message = format!("`{key}` has no meaning without tls = true");
        problems.push(Problem::value(span, message, "add tls = true, or remove it"));
        return None;
    }
    let tls = tls::read(reader, problems);
    Some(GrpcCheck { service: service?, tls: if with_tls? { Some(tls?) } else { None } })
}

pub(super) fn read_exec(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<ExecCheck> {
    const EXAMPLE: &str = "command = [\"/usr/local/bin/check\", \"{address}\", \"{port}\"]";
    let field = reader.required("command", EXAMPLE, problems)?;
    let elements = field.elements(problems)?;
    if elements.is_empty() || elements.len() > MAX_EXEC_ARGUMENTS {
        let message = format!("`command` has {} elements", elements.len());
        let hint = format!("write a program and at most {} arguments: {EXAMPLE}", MAX_EXEC_ARGUMENTS - 1);
        return field.refuse(message, hint, problems);
    }
    let words: Vec<_> =
        elements.into_iter().map(|element| read_line(element, 0..=MAX_EXEC_BYTES, problems)).collect();
    let command = words.into_iter().collect::<Option<Vec<String>>>()?;
    let program = command.first()?;
    if !program.starts_with('/') {
        let message = format!("`command`: {} is not an absolute path", quoted(program));
        return field.refuse(message, format!("write the program's whole path: {EXAMPLE}"), problems);
    }
    Some(ExecCheck { command })
}

pub(super) fn read_agent(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<AgentCheck> {
    let send = or_default(reader.optional("send"), String::new(), |field| {
        read_line(field, 0..=MAX_AGENT_LINE_BYTES, problems)
    });
    Some(AgentCheck { send: send? })
}
