//! Whom outgoing TLS trusts: the container's own bundle of certificates where it has one.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Where distributions put the bundle, in the order in which Go's `crypto/x509` looks.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// `named` is the value of the guest's `SSL_CERT_FILE`, as OpenSSL and Go know it. A bundle that
/// is named and cannot be read is an error, never a reason to trust others.
pub(super) fn config(named: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let roots = match named {
        Some(path) => {
            read(Path::new(path)).map_err(|error| format!("SSL_CERT_FILE={path}: {error}"))?
        }
        None => BUNDLES.iter().find_map(|path| read(Path::new(path)).ok()).unwrap_or_else(built_in),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<RootCertStore, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err("no certificates in it".to_owned());
    }
    Ok(roots)
}

/// Mozilla's list, as of our build, for images that carry none.
fn built_in() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() }
}
