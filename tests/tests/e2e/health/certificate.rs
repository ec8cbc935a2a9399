//! Authorities and certificates made for a test.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use lb_tests::nginx::More;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// An authority and the directory that its files are in.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    /// Makes one.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the lab's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(dir.join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, dir: dir.to_owned() })
    }

    /// Its PEM file.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// What lets an nginx speak TLS at `port` with a certificate for this address, in date from the first of January of one
    /// year to that of another.
    pub fn nginx(&self, address: IpAddr, port: u16, years: (i32, i32)) -> Result<More> {
        let mut params = CertificateParams::new(vec![address.to_string()])?;
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let file = |what: &str| self.dir.join(format!("{address}-{what}.pem"));
        fs::write(file("certificate"), certificate.pem())?;
        fs::write(file("key"), key.serialize_pem())?;
        let in_server = format!(
            "listen 0.0.0.0:{port} ssl;\nssl_certificate {};\nssl_certificate_key {};\n",
            file("certificate").display(),
            file("key").display()
        );
        Ok(More { in_server, ..More::default() })
    }
}
