//! The request of an HTTP check.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};

use super::super::ProbeError;
use crate::model::{HttpCheck, HttpVersion};

/// What the requests call themselves, so that a server's log can be told apart or silenced.
pub(in super::super) const AGENT: &str = "lbd-check";

pub(super) fn of(address: SocketAddr, check: &HttpCheck) -> Result<Request<Full<Bytes>>, ProbeError> {
    let with_tls = check.tls.is_some();
    let host = check.host.clone().unwrap_or_else(|| authority_of(address, with_tls));
    let mut builder = Request::builder().method(check.method.as_str());
    builder = match check.version {
        HttpVersion::Http1 => builder.uri(check.path.as_str()).header(HOST, host).header(CONNECTION, "close"),
        // The parts of the URI become the pseudo-headers (RFC 9113, 8.3.1).
        HttpVersion::Http2 => {
            let scheme = if with_tls { "https" } else { "http" };
            builder.uri(format!("{scheme}://{host}{}", check.path))
        }
    };
    for (name, default) in [(USER_AGENT, AGENT), (ACCEPT, "*/*")] {
        if !check.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name.as_str())) {
            builder = builder.header(name, default);
        }
    }
    for (name, value) in &check.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::default()).map_err(|error| ProbeError::Request { address, detail: error.to_string() })
}

/// The address as a URL has it: IPv6 in brackets, no port if it is the scheme's own (RFC 9110, 7.2).
pub(in super::super) fn authority_of(address: SocketAddr, with_tls: bool) -> String {
    let own_port = if with_tls { 443 } else { 80 };
    match (address, address.port() == own_port) {
        (SocketAddr::V4(v4), true) => v4.ip().to_string(),
        (SocketAddr::V6(v6), true) => format!("[{}]", v6.ip()),
        (SocketAddr::V4(v4), false) => format!("{}:{}", v4.ip(), v4.port()),
        (SocketAddr::V6(v6), false) => format!("[{}]:{}", v6.ip(), v6.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_is_the_address_as_a_url_has_it() {
        for (address, with_tls, host) in [
            ("192.0.2.1:80", false, "192.0.2.1"),
            ("192.0.2.1:8080", false, "192.0.2.1:8080"),
            ("192.0.2.1:443", false, "192.0.2.1:443"),
            ("192.0.2.1:443", true, "192.0.2.1"),
            ("192.0.2.1:80", true, "192.0.2.1:80"),
            ("[2001:db8::1]:80", false, "[2001:db8::1]"),
            ("[2001:db8::1]:443", true, "[2001:db8::1]"),
            ("[2001:db8::1]:8080", false, "[2001:db8::1]:8080"),
        ] {
            assert_eq!(authority_of(address.parse().unwrap(), with_tls), host);
        }
    }
}
