//! Whom outgoing TLS trusts: the container's own bundle of certificates where it has one.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

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
/// is named or there, and cannot be read, is an error, never a reason to trust others.
pub(super) fn config(named: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let roots = match named {
        Some(path) => {
            read(Path::new(path)).map_err(|error| format!("SSL_CERT_FILE={path}: {error}"))?
        }
        None => first_there(&BUNDLES.map(Path::new))?.unwrap_or_else(built_in),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The first of these bundles, if any is there.
fn first_there(bundles: &[&Path]) -> Result<Option<RootCertStore>, String> {
    for path in bundles {
        match read(path) {
            Err(Unusable::Missing) => {}
            read => return read.map(Some).map_err(|error| format!("{}: {error}", path.display())),
        }
    }
    Ok(None)
}

/// Why a bundle is none.
#[derive(Debug, Error)]
enum Unusable {
    #[error("there is no such file")]
    Missing,
    #[error("{0}")]
    Unreadable(io::Error),
    #[error("no certificates in it")]
    Empty,
}

fn read(path: &Path) -> Result<RootCertStore, Unusable> {
    let pem = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Unusable::Missing,
        _ => Unusable::Unreadable(error),
    })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(Unusable::Empty);
    }
    Ok(roots)
}

/// Mozilla's list, as of our build, for images that carry none.
fn built_in() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_is_there_is_trusted_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let first = |names: [&str; 2]| {
            let paths = names.map(at);
            let found = first_there(&paths.each_ref().map(|path| path.as_path()));
            found
                .map(|roots| roots.is_some())
                .map_err(|error| error.replace(&folder.path().display().to_string(), ""))
        };
        std::fs::write(at("empty"), "# none\n").unwrap();
        assert_eq!(first(["missing", "empty/below"]), Ok(false));
        assert_eq!(first(["missing", "empty"]), Err("/empty: no certificates in it".to_owned()));
        assert_eq!(first([".", "missing"]), Err("/.: Is a directory (os error 21)".to_owned()));
    }
}
