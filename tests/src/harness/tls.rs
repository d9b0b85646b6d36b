//! A certificate authority that lives as long as one test run.

use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::agent::text;

/// Files in PEM, as words of a command line.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority, for those who are to trust it.
    pub ca: String,
    /// The certificate of localhost and its addresses.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Certificates {
    /// Makes new ones in a folder. An authority signs the server's: rustls refuses a server that is one itself.
    pub fn make(folder: &Path) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "the authority of one test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let ca = authority.self_signed(&authority_key)?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut server = CertificateParams::new(names)?;
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(authority, &authority_key))?;
        let file = |name: &str, pem: String| -> Result<String> {
            let path = folder.join(name);
            std::fs::write(&path, pem)?;
            Ok(text(&path))
        };
        Ok(Self {
            ca: file("ca.pem", ca.pem())?,
            certificate: file("certificate.pem", certificate.pem())?,
            key: file("key.pem", key.serialize_pem())?,
        })
    }

    /// The three, as a pair takes them.
    #[must_use]
    pub fn words(&self) -> [&str; 3] {
        [&self.ca, &self.certificate, &self.key]
    }
}
