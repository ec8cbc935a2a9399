//! How a check speaks TLS.

use std::path::PathBuf;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;

use super::{or_default, read_path};
use crate::config::bounds::{DEFAULT_EXPIRY_WARNING, EXPIRY_WARNING};
use crate::config::field::Field;
use crate::config::problem::{Problems, quoted};
use crate::config::table::TableReader;
use crate::model::TlsCheck;

pub(super) const KEYS: [&str; 4] = ["verify", "server_name", "ca", "expiry_warning"];

/// Whether a certificate can have this name: a DNS name without wildcards, or an address.
pub(super) fn is_server_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

fn read_server_name(field: Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?.value;
    if !is_server_name(text) {
        let message = format!("`server_name`: {} cannot be the name of a certificate", quoted(text));
        return field.refuse(message, "write a name such as \"www.example.net\", or an IP address", problems);
    }
    Some(text.to_owned())
}

pub(super) fn read(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<TlsCheck> {
    let verify = or_default(reader.optional("verify"), true, |field| field.boolean(problems));
    let server_name =
        or_default(reader.optional("server_name"), None, |field| read_server_name(field, problems).map(Some));
    let ca_field = reader.optional("ca");
    let ca: Option<Option<PathBuf>> =
        or_default(ca_field, None, |field| read_path(field, problems).map(Some));
    let expiry_warning: Option<Duration> =
        or_default(reader.optional("expiry_warning"), DEFAULT_EXPIRY_WARNING, |field| {
            field.duration(&EXPIRY_WARNING, problems).map(|time| time.value)
        });
    if let (Some(false), Some(field)) = (verify, ca_field) {
        let hint = "remove one of the two: without verification nobody looks at who signed";
        return field.refuse("`ca` has no meaning with verify = false", hint, problems);
    }
    Some(TlsCheck { verify: verify?, server_name: server_name?, ca: ca?, expiry_warning: expiry_warning? })
}
