//! The name that a server's certificate has to have.

use std::net::SocketAddr;

use tokio_rustls::rustls::pki_types::ServerName;

use crate::model::{TlsCheck, host_without_port};

/// The check's own name, else its host without a port, else the address. A name is sent to the server (SNI), an address
/// is not (RFC 6066, 3).
pub(super) fn of(
    check: &TlsCheck,
    host: Option<&str>,
    address: SocketAddr,
) -> Result<ServerName<'static>, String> {
    let Some(name) = check.server_name.as_deref().or(host.map(host_without_port)) else {
        return Ok(ServerName::from(address.ip()));
    };
    ServerName::try_from(name.to_owned()).map_err(|_| {
        format!("{name:?} is neither a DNS name nor an address (correct `server_name` or `host`)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_name_is_the_checks_or_its_hosts_or_the_address() {
        let name = |own: Option<&str>, host: Option<&str>| {
            let check = TlsCheck {
                verify: true,
                server_name: own.map(str::to_owned),
                ca: None,
                expiry_warning: Duration::ZERO,
            };
            of(&check, host, "[2001:db8::1]:443".parse().unwrap()).map(|name| name.to_str().into_owned())
        };
        assert_eq!(name(Some("own.example"), Some("www.example")).unwrap(), "own.example");
        for (host, wanted) in [
            ("www.example", "www.example"),
            ("www.example:8443", "www.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:8443", "192.0.2.1"),
            ("2001:db8::2", "2001:db8::2"),
            ("[2001:db8::2]", "2001:db8::2"),
            ("[2001:db8::2]:8443", "2001:db8::2"),
        ] {
            assert_eq!(name(None, Some(host)).unwrap(), wanted);
        }
        assert_eq!(name(None, None).unwrap(), "2001:db8::1");
        let wanted = "\"a*b\" is neither a DNS name nor an address (correct `server_name` or `host`)";
        assert_eq!(name(None, Some("a*b:1")).unwrap_err(), wanted);
    }
}
