//! How a check speaks TLS.

use std::path::PathBuf;
use std::time::Duration;

use super::http::read_host;
use super::{or_default, read_path};
use crate::config::bounds::{DEFAULT_EXPIRY_WARNING, EXPIRY_WARNING};
use crate::config::problem::Problems;
use crate::config::table::TableReader;
use crate::model::TlsCheck;

pub(super) const KEYS: [&str; 4] = ["verify", "server_name", "ca", "expiry_warning"];

pub(super) fn read(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<TlsCheck> {
    let verify = or_default(reader.optional("verify"), true, |field| field.boolean(problems));
    let server_name =
        or_default(reader.optional("server_name"), None, |field| read_host(field, problems).map(Some));
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
