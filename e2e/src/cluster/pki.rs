//! An authority of the cluster's own, certificates for its programs, and the files that they read them from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use serde_json::{Value, json};

/// Who signs, and where what is signed is written.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// The files of one certificate.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Writes its certificate to `ca.crt` of the folder.
    pub fn new(folder: &Path) -> Result<Authority> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let mut about = CertificateParams::new(Vec::new())?;
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        about.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let issuer = CertifiedIssuer::self_signed(about, KeyPair::generate()?)?;
        fs::write(folder.join("ca.crt"), issuer.pem())?;
        Ok(Authority { issuer, folder: folder.to_path_buf() })
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate for a server with these names and addresses, or a client that is this user of this group.
    pub fn issue(&self, name: &str, user: &str, group: &str, names: &[&str]) -> Result<Pair> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut about = CertificateParams::new(names)?;
        about.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            about.distinguished_name.push(DnType::OrganizationName, group);
        }
        about.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = about.signed_by(&key, &self.issuer)?;
        let pair = self.pair(name);
        fs::write(&pair.certificate, certificate.pem())?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }

    /// A key and its public half, with which tokens of service accounts are signed and checked.
    pub fn tokens(&self) -> Result<Pair> {
        let (pair, key) = (self.pair("tokens"), KeyPair::generate()?);
        fs::write(&pair.certificate, key.public_key_pem())?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }

    fn pair(&self, name: &str) -> Pair {
        Pair {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
        }
    }
}

/// What a client of the API server reads: JSON, which is YAML too.
pub fn kubeconfig(server: &str, authority: &Path, pair: &Pair) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{ "name": "e2e", "cluster": {
            "server": server, "certificate-authority": authority,
        }}],
        "users": [{ "name": "e2e", "user": {
            "client-certificate": pair.certificate, "client-key": pair.key,
        }}],
        "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": "e2e" }}],
    })
}
