//! What went wrong with TLS, in plain words with what to do.

use std::io;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::super::{ProbeError, Question, Stage};

/// The server speaks TLS and not HTTP/2.
pub(super) const NO_HTTP2: &str =
    "the server did not choose HTTP/2 (turn it on there, or use version = \"1.1\" for an https check)";

/// Most names of a certificate that are told.
const MAX_NAMES: usize = 5;

/// Names an error of a connection, which is of TLS or of the socket below it.
pub(in super::super) fn name_io_error(question: &Question, stage: Stage, error: &io::Error) -> ProbeError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => ProbeError::Tls { address: question.address, detail: explain(error) },
        None => question.io_error(stage, error),
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error),
        Error::InvalidMessage(_) => "the server does not speak TLS (is this the right port?)".to_owned(),
        Error::PeerIncompatible(_) => NOTHING_IN_COMMON.to_owned(),
        Error::AlertReceived(alert) => explain_alert(*alert),
        Error::NoApplicationProtocol => NO_PROTOCOL.to_owned(),
        other => other.to_string(),
    }
}

const NOTHING_IN_COMMON: &str =
    "no version or algorithm in common (checks speak TLS 1.2 and 1.3; turn one of them on at the server)";

const NO_PROTOCOL: &str =
    "the server does not speak the check's version of HTTP (change `version`, or turn it on there)";

fn explain_alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::NoApplicationProtocol => NO_PROTOCOL,
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => NOTHING_IN_COMMON,
        AlertDescription::UnrecognisedName => {
            "the server does not know the name that was asked for (set `server_name`)"
        }
        AlertDescription::CertificateRequired => {
            "the server wants a certificate of its client, which checks do not have (let it in without one)"
        }
        other => return format!("the server ended the handshake: {other:?}"),
    };
    words.to_owned()
}

fn explain_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {} (renew it)", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {} (are the clocks right?)", date(*not_before))
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody that this node knows (name the authority's PEM file with `ca`)".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = names(presented);
            format!("its certificate is not for {} but for {names} (set `server_name`)", expected.to_str())
        }
        CertificateError::BadSignature => {
            "its certificate was not signed with the authority's key (is the file of `ca` an old one?)".to_owned()
        }
        other if is_authoritys_own(other) => {
            "its certificate is that of an authority (give the server one of its own, with CA:FALSE)".to_owned()
        }
        other => format!("its certificate cannot be accepted: {other}"),
    }
}

/// The certificate that `openssl req -x509` makes without further words: an authority's, which is none for a server.
fn is_authoritys_own(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity")
}

fn date(time: UnixTime) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    // humantime's own limit is the year 9999, which is also that of certificates.
    at.map_or_else(|| format!("{} s", time.as_secs()), |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// The names of a certificate, as a person writes them.
fn names(presented: &[String]) -> String {
    let mut words: Vec<&str> = presented.iter().take(MAX_NAMES).map(|name| plain(name)).collect();
    match presented.len() {
        0 => return "no name".to_owned(),
        1..=MAX_NAMES => {}
        _ => words.push("others"),
    }
    words.join(", ")
}

/// `www.example` of `DnsName("www.example")`, `192.0.2.1` of `IpAddress(192.0.2.1)`.
fn plain(name: &str) -> &str {
    let inner = |open, close| name.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    inner("DnsName(\"", "\")").or_else(|| inner("IpAddress(", ")")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_server_are_told_in_words() {
        let alert = |alert| explain(&Error::AlertReceived(alert));
        let nothing_in_common = "no version or algorithm in common (checks speak TLS 1.2 and 1.3; turn one of them on at the server)";
        assert_eq!(alert(AlertDescription::ProtocolVersion), nothing_in_common);
        assert_eq!(alert(AlertDescription::HandshakeFailure), nothing_in_common);
        let unknown_name = "the server does not know the name that was asked for (set `server_name`)";
        assert_eq!(alert(AlertDescription::UnrecognisedName), unknown_name);
        assert_eq!(alert(AlertDescription::InternalError), "the server ended the handshake: InternalError");
        let revoked = explain(&Error::InvalidCertificate(CertificateError::Revoked));
        assert_eq!(revoked, "its certificate cannot be accepted: Revoked");
    }
}
