//! TLS of a listener: certificates from PEM files, by `rustls`, read again while running.
//!
//! Knows files and `rustls`; knows no protocol and no event loop. Connections that are open keep what they were opened
//! with when the files are read again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::server::error::ServerError;

/// The files of a TLS listener, all PEM.
///
/// # Examples
///
/// ```
/// use larder::server::Tls;
///
/// let tls = Tls::new("chain.pem", "key.pem").client_ca("clients.pem");
/// ```
#[derive(Clone, Debug)]
pub struct Tls {
    chain: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    clients_must: bool,
}

impl Tls {
    /// A certificate chain, the server's own first, and its private key. TLS 1.2 and 1.3 are spoken.
    #[must_use]
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { chain: chain.into(), key: key.into(), client_ca: None, clients_must: true }
    }

    /// Clients have to show a certificate that one of these authorities has signed.
    #[must_use]
    pub fn client_ca(mut self, authorities: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(authorities.into());
        self
    }

    /// Whether a client without a certificate is turned away, where [`client_ca`](Self::client_ca) is set: `true` unless
    /// set otherwise. One that shows a wrong certificate always is.
    #[must_use]
    pub fn require_client_certificate(mut self, require: bool) -> Self {
        self.clients_must = require;
        self
    }

    /// Whether only clients with a certificate get in.
    pub(crate) fn authenticates(&self) -> bool {
        self.client_ca.is_some() && self.clients_must
    }

    fn config(&self) -> Result<ServerConfig, ServerError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|source| self.wrong(source.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|source| self.wrong(source.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if self.clients_must { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().map_err(|source| self.wrong(source.to_string()))?)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| pem(&self.key, &source))?;
        builder.with_single_cert(certificates(&self.chain)?, key).map_err(|source| self.wrong(source.to_string()))
    }

    fn wrong(&self, what: String) -> ServerError {
        ServerError::Certificate { path: self.chain.clone(), what }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => {
            Err(ServerError::Certificate { path: path.to_owned(), what: "it has no certificate".to_owned() })
        }
        Ok(all) => Ok(all),
        Err(source) => Err(pem(path, &source)),
    }
}

fn pem(path: &Path, source: &rustls::pki_types::pem::Error) -> ServerError {
    ServerError::Certificate { path: path.to_owned(), what: source.to_string() }
}

/// What new connections of one listener are opened with, replaced when the files are read again.
#[derive(Debug)]
pub(crate) struct Acceptor {
    files: Tls,
    config: RwLock<Arc<ServerConfig>>,
}

impl Acceptor {
    pub(crate) fn load(files: Tls) -> Result<Self, ServerError> {
        let config = RwLock::new(Arc::new(files.config()?));
        Ok(Self { files, config })
    }

    /// Reads the files again; on an error new connections are opened as before.
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        let config = Arc::new(self.files.config()?);
        *self.config.write() = config;
        Ok(())
    }

    /// The server's side of a new connection.
    pub(crate) fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(self.config.read().clone())
    }
}
