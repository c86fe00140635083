//! The certificate authorities of a `ca_file`, in the form that a Pingora peer takes.

use std::path::Path;
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::tls::{CertificateDer, RootCertStore};
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls_pki_types::pem::PemObject;

/// Reads a PEM file of one or more certificates.
///
/// # Errors
/// In words, if the file cannot be read, or holds none or an invalid one.
pub(super) fn load(path: &Path) -> Result<Arc<CaType>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = read.collect();
    let certificates = certificates.map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    certificates.into_iter().map(wrap).collect()
}

fn wrap(certificate: CertificateDer<'static>) -> Result<WrappedX509, String> {
    // Pingora's parser panics on what is no certificate, so that is found out here.
    let mut store = RootCertStore::empty();
    store
        .add(certificate.clone())
        .map_err(|error| error.to_string())?;
    Ok(WrappedX509::new(certificate.to_vec(), |raw| {
        parse_x509(raw)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Arc<CaType>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn reads_a_bundle_and_refuses_what_is_none() {
        let authority = include_str!("tests/tls/authority.pem");
        assert_eq!(load_text(authority).unwrap().len(), 1);
        assert_eq!(load_text(&authority.repeat(3)).unwrap().len(), 3);
        assert!(load(Path::new("/nowhere/ca.pem")).is_err());
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "hello", garbage, &format!("{authority}{garbage}")] {
            assert!(load_text(text).is_err(), "{text:?}");
        }
    }
}
