//! TLS by rustls, with aws-lc-rs for cryptography.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::settings::{Settings, SettingsError, Tls};

/// When to negotiate.
pub(crate) fn mode(tls: Tls) -> SslMode {
    match tls {
        Tls::Off => SslMode::Disable,
        Tls::Prefer => SslMode::Prefer,
        Tls::Verify => SslMode::Require,
    }
}

/// How to negotiate. With [`Tls::Off`] it is never asked.
pub(crate) fn connector(settings: &Settings) -> Result<MakeRustlsConnect, SettingsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = match (settings.tls, &settings.tls_root_cert) {
        (Tls::Off | Tls::Prefer, _) => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        (Tls::Verify, Some(file)) => builder.with_root_certificates(roots(file)?),
        (Tls::Verify, None) => {
            return MakeRustlsConnect::with_native_certs().map(|(connector, _)| connector).map_err(|errors| {
                let reason = errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
                SettingsError::RootCertificates { from: "the system's store".to_owned(), reason }
            });
        }
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

fn roots(file: &Path) -> Result<RootCertStore, SettingsError> {
    let refuse = |reason: String| SettingsError::RootCertificates { from: file.display().to_string(), reason };
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for certificate in certificates.map_err(|error| refuse(error.to_string()))? {
        roots.add(certificate)?;
    }
    if roots.is_empty() { Err(refuse("it holds no certificate".to_owned())) } else { Ok(roots) }
}

/// Takes whatever certificate the server shows, and still requires that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
