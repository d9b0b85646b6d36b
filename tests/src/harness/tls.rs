//! A certificate authority that lives as long as one test run.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

use super::agent::text;

/// The authority. It signs the servers' certificates: rustls refuses a server that is one itself.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    ca: String,
}

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

impl Authority {
    /// A new one, with its files in a folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "the authority of one test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let ca = write(folder, "ca", &authority.self_signed(&key)?.pem())?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(authority, key),
            ca,
        })
    }

    /// A certificate of `names`, which is good for so long, in files that begin so.
    pub fn certify(&self, file: &str, names: &[&str], good_for: Option<Duration>) -> Result<Certificates> {
        let mut server = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        server.use_authority_key_identifier_extension = true;
        if let Some(good_for) = good_for {
            let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + good_for;
            server.not_after = date_time_ymd(1970, 1, 1) + end;
        }
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &self.issuer)?;
        Ok(Certificates {
            ca: self.ca.clone(),
            certificate: write(&self.folder, file, &certificate.pem())?,
            key: write(&self.folder, &format!("{file}-key"), &key.serialize_pem())?,
        })
    }
}

impl Certificates {
    /// Makes new ones in a folder.
    pub fn make(folder: &Path) -> Result<Self> {
        Authority::new(folder)?.certify("certificate", &["localhost", "127.0.0.1", "::1"], None)
    }

    /// The three, as a pair takes them.
    #[must_use]
    pub fn words(&self) -> [&str; 3] {
        [&self.ca, &self.certificate, &self.key]
    }
}

fn write(folder: &Path, name: &str, pem: &str) -> Result<String> {
    let path = folder.join(format!("{name}.pem"));
    std::fs::write(&path, pem)?;
    Ok(text(&path))
}
