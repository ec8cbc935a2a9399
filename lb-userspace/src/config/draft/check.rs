//! `[checks.NAME]`: a health check.

use std::time::Duration;

use super::Named;
use crate::config::bounds::{
    CHECK_COUNT, CHECK_INTERVAL, CHECK_TIMEOUT, DEFAULT_FALL, DEFAULT_INTERVAL, DEFAULT_RISE, DEFAULT_STATUS,
    DEFAULT_TIMEOUT, HTTP_STATUS, MAX_HTTP_HOST_BYTES, MAX_HTTP_PATH_BYTES, MAX_STATUS_RANGES,
};
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::Span;
use crate::config::table::TableReader;
use crate::model::{Check, CheckKind, HttpCheck, StatusSet};

const HTTP_KEYS: [&str; 4] = ["method", "path", "host", "expect_status"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum KindWord {
    Tcp,
    Http,
}

/// A check and where it is named.
pub(in crate::config) struct CheckDraft {
    pub name_span: Span,
    pub check: Option<Check>,
}

impl CheckDraft {
    pub fn read(named: Named<'_>, problems: &mut Problems) -> Self {
        let Named { what, name_span, table } = named;
        let mut reader = TableReader::new(what, name_span.clone(), table);
        let kind = read_kind(&mut reader, problems);
        let times = read_times(&mut reader, problems);
        let rise = read_count(reader.optional("rise"), DEFAULT_RISE, problems);
        let fall = read_count(reader.optional("fall"), DEFAULT_FALL, problems);
        let port = match reader.optional("port") {
            Some(field) => field.port(problems).map(|port| Some(port.value)),
            None => Some(None),
        };
        reader.finish(problems);
        let check = || {
            let (interval, timeout) = times?;
            Some(Check { kind: kind?, interval, timeout, rise: rise?, fall: fall?, port: port? })
        };
        Self { name_span, check: check() }
    }
}

fn read_kind(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<CheckKind> {
    let word = reader
        .required("kind", "kind = \"tcp\" or kind = \"http\"", problems)
        .and_then(|field| field.choice(&[("tcp", KindWord::Tcp), ("http", KindWord::Http)], problems));
    if word.as_ref().is_some_and(|word| word.value == KindWord::Tcp) {
        for key in HTTP_KEYS {
            refuse_http_key(reader, key, problems);
        }
        return Some(CheckKind::Tcp);
    }
    // Without a kind the keys are read all the same, so that what is wrong with them is reported now.
    let http = read_http(reader, problems);
    word.and(http).map(CheckKind::Http)
}

fn refuse_http_key(reader: &mut TableReader<'_>, key: &'static str, problems: &mut Problems) {
    if reader.optional(key).is_none() {
        return;
    }
    let span = reader.key_span(key).unwrap_or_default();
    let message = format!("`{key}` has no meaning in a check of kind \"tcp\"");
    problems.push(Problem::value(span, message, "remove it, or write kind = \"http\""));
}

fn read_http(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<HttpCheck> {
    let method = match reader.optional("method") {
        Some(field) => field.choice(&[("GET", "GET"), ("HEAD", "HEAD")], problems).map(|word| word.value),
        None => Some("GET"),
    };
    let path = match reader.optional("path") {
        Some(field) => read_http_path(field, problems),
        None => Some("/".to_owned()),
    };
    let host = match reader.optional("host") {
        Some(field) => read_http_host(field, problems).map(Some),
        None => Some(None),
    };
    let expect_status = match reader.optional("expect_status") {
        Some(field) => read_status_set(field, problems),
        None => Some(StatusSet(vec![DEFAULT_STATUS])),
    };
    Some(HttpCheck { method: method?.to_owned(), path: path?, host: host?, expect_status: expect_status? })
}

fn read_http_path(field: Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    if !text.starts_with('/') {
        let hint = format!("begin it with a slash: \"/{}\"", text.escape_debug());
        return field.refuse(format!("`path`: {} does not begin with `/`", quoted(text)), hint, problems);
    }
    if text.len() > MAX_HTTP_PATH_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let hint = format!("use at most {MAX_HTTP_PATH_BYTES} visible ASCII characters; write others as %XX");
        return field.refuse(format!("`path`: {} cannot be sent", quoted(text)), hint, problems);
    }
    Some(text.to_owned())
}

fn read_http_host(field: Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    let fits = (1..=MAX_HTTP_HOST_BYTES).contains(&text.len());
    if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        let hint = "write a host name such as \"www.example.net\", without a scheme or a path";
        return field.refuse(format!("`host`: {} cannot be sent", quoted(text)), hint, problems);
    }
    Some(text.to_owned())
}

/// Reads interval and timeout, which depend on each other.
fn read_times(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<(Duration, Duration)> {
    let (interval_field, timeout_field) = (reader.optional("interval"), reader.optional("timeout"));
    let interval = match interval_field {
        Some(field) => field.duration(&CHECK_INTERVAL, problems).map(|interval| interval.value),
        None => Some(DEFAULT_INTERVAL),
    };
    let timeout = match timeout_field {
        Some(field) => Some(field.duration(&CHECK_TIMEOUT, problems)?),
        None => None,
    };
    let interval = interval?;
    let Some(timeout) = timeout else { return Some((interval, DEFAULT_TIMEOUT.min(interval))) };
    if timeout.value > interval {
        let shown = humantime::format_duration(interval);
        let message =
            format!("`timeout` ({}) is longer than the interval", humantime::format_duration(timeout.value));
        let hint = format!("use at most the interval, {shown}, or raise `interval`");
        let problem = Problem::relation(timeout.span, message, hint);
        problems.push(match interval_field {
            Some(field) => problem.related(field.span(), "the interval"),
            None => problem,
        });
        return None;
    }
    Some((interval, timeout.value))
}

fn read_count(field: Option<Field<'_>>, default: u32, problems: &mut Problems) -> Option<u32> {
    match field {
        Some(field) => field.integer(&CHECK_COUNT, problems).map(|count| count.value),
        None => Some(default),
    }
}

fn read_status_set(field: Field<'_>, problems: &mut Problems) -> Option<StatusSet> {
    let elements = field.elements(problems)?;
    if elements.is_empty() || elements.len() > MAX_STATUS_RANGES {
        let message = format!("`expect_status` has {} entries", elements.len());
        let hint = format!("write 1 to {MAX_STATUS_RANGES}, such as expect_status = [200, \"300-399\"]");
        return field.refuse(message, hint, problems);
    }
    // Every entry is read before the first failure counts, so that each is reported.
    let ranges: Vec<_> = elements.into_iter().map(|element| read_status(element, problems)).collect();
    ranges.into_iter().collect::<Option<Vec<_>>>().map(StatusSet)
}

fn read_status(element: Field<'_>, problems: &mut Problems) -> Option<(u16, u16)> {
    if element.value.get_ref().is_integer() {
        let status = element.integer(&HTTP_STATUS, problems)?.value;
        let status = u16::try_from(status).ok()?;
        return Some((status, status));
    }
    let text = element.string(problems)?.value;
    let code = |part: &str| part.trim().parse::<u16>().ok().filter(|s| HTTP_STATUS.contains(&u32::from(*s)));
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (code(low), code(high)) {
        (Some(low), Some(high)) if low <= high => Some((low, high)),
        _ => {
            let message = format!("`expect_status`: {} is not a status or a range", quoted(text));
            element.refuse(message, "write 200 or \"200-399\", within 100 to 599", problems)
        }
    }
}
