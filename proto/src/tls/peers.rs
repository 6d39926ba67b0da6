//! Whether a peer is one of those that are pinned: the verifier of both ends.
//!
//! Runs in the frontend and in clients, on what a stranger has sent. It trusts the pins and nothing that
//! a peer says of itself.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{Certificate, Fingerprint, Period, instant, period};

/// The error that a pinning client returns for a server with another certificate: both
/// fingerprints, for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server's certificate is {found}, but {pinned} is pinned")]
pub struct WrongServer {
    /// What the server showed.
    pub found: Fingerprint,
    /// What was pinned.
    pub pinned: Fingerprint,
}

/// Accepts exactly the pinned certificates, of either side.
#[derive(Debug)]
pub(super) struct PinnedPeers {
    pub shown: fn(Fingerprint),
    pub pins: Vec<Certificate>,
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedPeers {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        unpinned: impl FnOnce(&[u8]) -> CertificateError,
    ) -> Result<(), rustls::Error> {
        // A pin is one certificate, so a chain is never right: refusing it leaves nothing unpinned
        // to parse.
        if !intermediates.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let Some(pin) = self.pins.iter().find(|pin| pin.der == *end_entity) else {
            return Err(unpinned(end_entity).into());
        };
        // Parsed from the pin, not from what the peer sent.
        let (_, parsed) =
            X509Certificate::from_der(&pin.der).map_err(|_| CertificateError::BadEncoding)?;
        match period(&parsed, Duration::from_secs(now.as_secs())) {
            Period::Inside => Ok(()),
            // With both times: a clock that is wrong is seen in them.
            Period::Before => Err(CertificateError::NotValidYetContext {
                time: now,
                not_before: instant(parsed.validity().not_before),
            }
            .into()),
            Period::After => Err(CertificateError::ExpiredContext {
                time: now,
                not_after: instant(parsed.validity().not_after),
            }
            .into()),
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Without this the certificate alone, which is public, would be the password.
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

impl ClientCertVerifier for PinnedPeers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Names of pinned certificates are nobody's business before authentication.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        (self.shown)(Fingerprint::of(end_entity));
        self.verify(end_entity, intermediates, now, |_| {
            CertificateError::ApplicationVerificationFailure
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ServerCertVerifier for PinnedPeers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let wrong_server = |found: &[u8]| match self.pins.as_slice() {
            [pinned] => {
                let wrong = WrongServer {
                    found: Fingerprint::of(found),
                    pinned: pinned.fingerprint(),
                };
                CertificateError::Other(rustls::OtherError(Arc::new(wrong)))
            }
            _ => CertificateError::ApplicationVerificationFailure,
        };
        self.verify(end_entity, intermediates, now, wrong_server)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
