//! The keys of `kind = "http"` and `kind = "https"`.

use hyper::http::uri::{Authority, PathAndQuery};

use super::{or_default, tls};
use crate::config::bounds::{
    DEFAULT_STATUS, HTTP_STATUS, MAX_BODY_PATTERN_BYTES, MAX_HTTP_HEADER_BYTES, MAX_HTTP_HEADERS,
    MAX_HTTP_HOST_BYTES, MAX_HTTP_PATH_BYTES, MAX_STATUS_RANGES,
};
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::table::{TableReader, named_entries};
use crate::model::{BodyPattern, HttpCheck, HttpVersion, StatusSet, TlsCheck, host_without_port};

pub(super) const KEYS: [&str; 7] =
    ["method", "path", "host", "headers", "version", "expect_status", "expect_body"];

/// Headers that the check writes itself, or that would change what the answer means.
const OWN_HEADERS: [&str; 6] = ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te"];

pub(super) fn read(
    reader: &mut TableReader<'_>,
    with_tls: bool,
    problems: &mut Problems,
) -> Option<HttpCheck> {
    let method = or_default(reader.optional("method"), "GET", |field| {
        field.choice(&[("GET", "GET"), ("HEAD", "HEAD")], problems).map(|word| word.value)
    });
    let path = or_default(reader.optional("path"), "/".to_owned(), |field| read_path(field, problems));
    let host_field = reader.optional("host");
    let host = or_default(host_field, None, |field| read_host(field, problems).map(Some));
    let headers = or_default(reader.optional("headers"), Vec::new(), |field| read_headers(field, problems));
    let version = or_default(reader.optional("version"), HttpVersion::Http1, |field| {
        let choices = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];
        field.choice(&choices, problems).map(|word| word.value)
    });
    let expect_status =
        or_default(reader.optional("expect_status"), StatusSet(vec![DEFAULT_STATUS]), |field| {
            read_status_set(field, problems)
        });
    let body_field = reader.optional("expect_body");
    let expect_body = or_default(body_field, None, |field| read_pattern(field, problems).map(Some));
    if let (Some("HEAD"), Some(field), Some(Some(_))) = (method, body_field, &expect_body) {
        let message = "`expect_body` with method = \"HEAD\": the answer has no body";
        return field.refuse(message, "use method = \"GET\"", problems);
    }
    let tls = if with_tls { Some(tls::read(reader, problems)) } else { None };
    if let (Some(Some(TlsCheck { server_name: None, .. })), Some(Some(host)), Some(field)) =
        (&tls, &host, host_field)
        && !tls::is_server_name(host_without_port(host))
    {
        let message = format!("`host`: {} cannot be the name of a certificate", quoted(host));
        return field.refuse(message, "add `server_name` with the name that the certificate has", problems);
    }
    Some(HttpCheck {
        method: method?.to_owned(),
        path: path?,
        host: host?,
        headers: headers?,
        version: version?,
        expect_status: expect_status?,
        expect_body: expect_body?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
    })
}

fn read_path(field: Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    if !text.starts_with('/') {
        let hint = format!("begin it with a slash: \"/{}\"", text.escape_debug());
        return field.refuse(format!("`path`: {} does not begin with `/`", quoted(text)), hint, problems);
    }
    if text.len() > MAX_HTTP_PATH_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let hint = format!("use at most {MAX_HTTP_PATH_BYTES} visible ASCII characters; write others as %XX");
        return field.refuse(format!("`path`: {} cannot be sent", quoted(text)), hint, problems);
    }
    if text.contains('#') || text.parse::<PathAndQuery>().is_err() {
        let hint = "write characters other than letters, digits and -._~!$&'()*+,;=:@/?% as %XX";
        return field.refuse(format!("`path`: {} cannot be sent", quoted(text)), hint, problems);
    }
    Some(text.to_owned())
}

pub(super) fn read_host(field: Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    let fits = (1..=MAX_HTTP_HOST_BYTES).contains(&text.len());
    if !fits || text.parse::<Authority>().is_err() || text.contains('@') {
        let hint = "write a host name such as \"www.example.net\", without a scheme or a path";
        return field.refuse(format!("`host`: {} cannot be sent", quoted(text)), hint, problems);
    }
    Some(text.to_owned())
}

fn read_headers(field: Field<'_>, problems: &mut Problems) -> Option<Vec<(String, String)>> {
    let table = field.table(problems)?;
    if table.len() > MAX_HTTP_HEADERS {
        let message = format!("`headers` has {} entries", table.len());
        return field.refuse(message, format!("write at most {MAX_HTTP_HEADERS}"), problems);
    }
    // The table has them in the order of their names.
    let mut entries: Vec<_> = named_entries(table).collect();
    entries.sort_by_key(|(_, span, _)| span.start);
    // Every header is read before the first failure counts, so that each is reported.
    let headers: Vec<_> = entries
        .into_iter()
        .map(|(name, span, value)| {
            let is_token = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
            if !is_token || name.len() > MAX_HTTP_HEADER_BYTES {
                let message = format!("`headers`: {} is not the name of a header", quoted(name));
                problems.push(Problem::value(span, message, "write a name such as \"X-Check\""));
                return None;
            }
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                let message = format!("`headers`: the check writes {} itself", quoted(name));
                let hint = if name.eq_ignore_ascii_case("host") { "use the key `host`" } else { "remove it" };
                problems.push(Problem::value(span, message, hint));
                return None;
            }
            let text = value.string(problems)?.value;
            let is_sendable = text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
            if !is_sendable || text.len() > MAX_HTTP_HEADER_BYTES {
                let hint = format!(
                    "use at most {MAX_HTTP_HEADER_BYTES} ASCII characters, none of them a control character"
                );
                return value.refuse(format!("the value of `{name}` cannot be sent"), hint, problems);
            }
            Some((name.to_owned(), text.trim().to_owned()))
        })
        .collect();
    headers.into_iter().collect()
}

fn read_pattern(field: Field<'_>, problems: &mut Problems) -> Option<BodyPattern> {
    let text = field.string(problems)?.value;
    if text.is_empty() || text.len() > MAX_BODY_PATTERN_BYTES {
        let hint = format!("write 1 to {MAX_BODY_PATTERN_BYTES} bytes, such as \"status: ok\"");
        return field.refuse(format!("`expect_body` has {} bytes", text.len()), hint, problems);
    }
    match regex::bytes::Regex::new(text) {
        Ok(pattern) => Some(BodyPattern(pattern)),
        Err(error) => {
            // The last line says what is wrong, the ones before repeat the text.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("`expect_body`: {} is not a regular expression: {reason}", quoted(text));
            field.refuse(
                message,
                "put a backslash before a character that stands for itself, twice in double quotes",
                problems,
            )
        }
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
