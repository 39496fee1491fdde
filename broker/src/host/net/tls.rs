//! TLS to servers outside: their certificates are always verified, against the system's roots and those of
//! the setting `http-ca`.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to trust; read when first needed.
#[derive(Default)]
pub struct Tls {
    ca: RefCell<Option<PathBuf>>,
    /// rustls wants an `Arc`.
    config: RefCell<Option<Arc<ClientConfig>>>,
}

impl Tls {
    /// Further roots; the files are read anew when next needed.
    pub fn configure(&self, ca: Option<PathBuf>) {
        *self.ca.borrow_mut() = ca;
        *self.config.borrow_mut() = None;
    }

    /// The configuration for clients, for whoever does the handshake elsewhere. HTTP/1.1 only.
    ///
    /// # Errors
    /// When the file of `http-ca` cannot be read.
    pub async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.config.borrow().clone() {
            return Ok(config);
        }
        let ca = self.ca.borrow().clone();
        let made = tokio::task::spawn_blocking(move || make(ca.as_deref())).await;
        let config = Arc::new(made.unwrap_or_else(|error| Err(error.to_string()))?);
        *self.config.borrow_mut() = Some(config.clone());
        Ok(config)
    }

    /// Shakes hands with a server that must prove to be `host` (a name, or an address without brackets).
    ///
    /// # Errors
    /// In the words of Go's `tls`.
    pub async fn connect(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, String> {
        let config = self.config().await?;
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(host.to_owned())
                .map_err(|_| format!("tls: {host:?} is no name that a server can prove"))?,
        };
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| text(&error, host))
    }
}

fn make(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let told = |error: &dyn std::fmt::Display| format!("http-ca {}: {error}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| told(&error))? {
            roots.add(certificate.map_err(|error| told(&error))?).map_err(|error| told(&error))?;
        }
    }
    if roots.is_empty() {
        tracing::warn!("no root certificates on this machine: no HTTPS server will be trusted");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn text(error: &io::Error, host: &str) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return super::io_text(error);
    };
    let rustls::Error::InvalidCertificate(problem) = error else { return format!("tls: {error}") };
    let problem = match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("certificate is not valid for {host}")
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {problem}")
}
