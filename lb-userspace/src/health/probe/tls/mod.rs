//! TLS for the probes that speak it (RFC 5246, RFC 8446).
//!
//! Role: opens the connection of a check, with TLS or without. Imports `model` and `connect`.
//! Always holds: every connection is a whole handshake (no resumption: a resumed session would go on when the
//! certificate has expired); files are read on threads of their own, [`authorities::MAX_READERS`] at most, and such a
//! reading is all that may go on when a probe is dropped.

mod authorities;
mod certificate;
mod explain;
mod server_name;
mod unverified;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::connect::connect;
use super::{ProbeError, Question, Stage};
use crate::model::TlsCheck;
use unverified::Unverified;

pub(super) use explain::name_io_error;

/// A CA file is looked at again after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// The algorithms, shared by all connectors.
static ALGORITHMS: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// What is spoken inside of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1. A server that does not negotiate is taken to speak it.
    Http1,
    /// HTTP/2. The server has to choose it.
    Http2,
}

impl Protocol {
    /// The name that is negotiated (RFC 7301).
    const fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// What bytes go through, with TLS or without.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// An open connection.
pub(super) struct Opened {
    /// What bytes go through.
    pub(super) wire: Box<dyn Wire>,
    /// When the server's certificate expires, if it has one that can be read.
    pub(super) certificate_expires: Option<SystemTime>,
}

/// Settings of one check's connections, kept between two probes. It serves one check only, whose settings never change.
#[derive(Default)]
pub(super) struct Connector {
    client: Option<Client>,
}

struct Client {
    config: Arc<ClientConfig>,
    /// Who may have signed; none without verification.
    authorities: Option<Arc<RootCertStore>>,
    /// When their file was looked at.
    looked_at: Instant,
}

impl Connector {
    /// Connects to whom the question goes to; with TLS if `check` is there. `host` is the host of the check, with or without
    /// a port.
    pub(super) async fn open(
        &mut self,
        question: &Question,
        check: Option<&TlsCheck>,
        host: Option<&str>,
        protocol: Protocol,
    ) -> Result<Opened, ProbeError> {
        let Some(check) = check else {
            return Ok(Opened { wire: Box::new(connect(question).await?), certificate_expires: None });
        };
        let name = server_name::of(check, host, question.address).map_err(|why| question.not_asked(why))?;
        let config = self.config(question, check, protocol, Instant::now()).await?;
        let stream = connect(question).await?;
        let handshake = async {
            let stream = TlsConnector::from(config).connect(name, stream).await;
            stream.map_err(|error| name_io_error(question, Stage::Tls, &error))
        };
        let stream = question.bound(Stage::Tls, handshake).await?;
        require(question, protocol, &stream)?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Ok(Opened {
            certificate_expires: leaf.and_then(|leaf| certificate::expires(leaf)),
            wire: Box::new(stream),
        })
    }

    /// The settings; read again if the file of the authorities has changed.
    async fn config(
        &mut self,
        question: &Question,
        check: &TlsCheck,
        protocol: Protocol,
        now: Instant,
    ) -> Result<Arc<ClientConfig>, ProbeError> {
        if let Some(client) = &self.client {
            let may_change = client.authorities.is_some() && check.ca.is_some();
            if !may_change || now.saturating_duration_since(client.looked_at) < LOOK_AGAIN_AFTER {
                return Ok(client.config.clone());
            }
        }
        let authorities = match (check.verify, &mut self.client) {
            (false, _) => None,
            (true, None) => Some(authorities::load(question, check.ca.as_deref()).await?),
            (true, Some(client)) => match authorities::load(question, check.ca.as_deref()).await {
                Ok(authorities) => Some(authorities),
                Err(error) => {
                    // Those of before go on: without them nobody would be asked, and who dies would stay up.
                    tracing::warn!("health: {error}; checks go on with what the file held before");
                    client.looked_at = now;
                    return Ok(client.config.clone());
                }
            },
        };
        let same = |client: &Client| match (&client.authorities, &authorities) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let config = match self.client.take_if(|client| same(client)) {
            Some(client) => client.config,
            None => Arc::new(
                configure(authorities.clone(), protocol)
                    .map_err(|error| question.not_asked(format!("TLS cannot be set up: {error}")))?,
            ),
        };
        self.client = Some(Client { config: config.clone(), authorities, looked_at: now });
        Ok(config)
    }
}

fn configure(
    authorities: Option<Arc<RootCertStore>>,
    protocol: Protocol,
) -> Result<ClientConfig, tokio_rustls::rustls::Error> {
    let builder =
        ClientConfig::builder_with_provider(ALGORITHMS.clone()).with_safe_default_protocol_versions()?;
    let mut config = if let Some(authorities) = authorities {
        builder.with_root_certificates(authorities).with_no_client_auth()
    } else {
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Unverified::new(ALGORITHMS.clone()));
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.alpn().into()];
    Ok(config)
}

/// A server may leave the protocol open, and then it is HTTP/1.1.
fn require(question: &Question, protocol: Protocol, stream: &TlsStream<TcpStream>) -> Result<(), ProbeError> {
    if protocol == Protocol::Http1 || stream.get_ref().1.alpn_protocol() == Some(protocol.alpn().as_bytes()) {
        return Ok(());
    }
    Err(ProbeError::Tls { address: question.address, detail: explain::NO_HTTP2.to_owned() })
}

#[cfg(test)]
mod tests;
