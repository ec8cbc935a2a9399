//! Authorities, certificates and servers that have them, made for a test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::model::TlsCheck;

/// An authority and the directory with its PEM file.
pub(in super::super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    pub(in super::super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    pub(in super::super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(in super::super) fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A check that trusts this authority.
    pub(in super::super) fn check(&self) -> TlsCheck {
        TlsCheck { ca: Some(self.file()), ..unverified(true) }
    }

    /// A server whose certificate is for `names` and in date from the first of January of one year to that of another.
    pub(in super::super) fn server(&self, names: &[&str], years: (i32, i32)) -> Server {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Server { certificate, key: key.serialize_der(), protocols: Vec::new(), clients: None }
    }

    /// A server whose certificate is the authority's own.
    pub(in super::super) fn as_server(&self) -> Server {
        let key = self.issuer.key().serialize_der();
        Server { certificate: self.issuer.der().clone(), key, protocols: Vec::new(), clients: None }
    }
}

/// A check that trusts the system's authorities, or anyone.
pub(in super::super) fn unverified(verify: bool) -> TlsCheck {
    TlsCheck { verify, server_name: None, ca: None, expiry_warning: Duration::ZERO }
}

/// What a server shows and speaks.
pub(in super::super) struct Server {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    protocols: Vec<Vec<u8>>,
    clients: Option<Arc<RootCertStore>>,
}

impl Server {
    /// The protocols that it negotiates; without this it leaves them open.
    pub(in super::super) fn speaking(mut self, protocol: &str) -> Self {
        self.protocols.push(protocol.into());
        self
    }

    /// Wants a certificate of its clients, signed as its own is.
    pub(in super::super) fn wanting_certificates(mut self, authority: &Authority) -> Self {
        let mut clients = RootCertStore::empty();
        clients.add(authority.issuer.der().clone()).unwrap();
        self.clients = Some(Arc::new(clients));
        self
    }

    pub(in super::super) fn acceptor(self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match self.clients {
            Some(clients) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(clients, provider).build().unwrap(),
            ),
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key));
        let mut config = builder.with_single_cert(vec![self.certificate], key).unwrap();
        config.alpn_protocols = self.protocols;
        TlsAcceptor::from(Arc::new(config))
    }
}
