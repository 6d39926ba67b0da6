//! Who a peer is, by what it has shown: the one place that decides it, for both ends.
//!
//! Runs in the frontend and in clients, on what a stranger has sent. It trusts the certificates,
//! fingerprints and authorities that it was given, and nothing that a peer says of itself: the
//! handshake's signature is checked with the certificate's own key, whatever that is known by.
//!
//! | first that fits | a peer is | what is checked beside the signature |
//! |---|---|---|
//! | a certificate, byte for byte | whose certificate it is | its time; a client's comes alone |
//! | a key's fingerprint | whose key it is | its form, key usage, time; a client's comes alone |
//! | an authority's signature, and a name | whose rule names it most exactly | the whole chain, and what is revoked |
//!
//! A server shows all its clients the same: what stands behind a certificate that is known by
//! itself is for those that know it by an authority, and is not looked at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::{AuthorityCertificate, RevocationList};
use super::certificate::{Certificate, Validity};
use super::chain::{self, Chain};
use super::error::TlsError;
use super::fingerprint::KeyFingerprint;
use super::hash::Fingerprint;
use super::kind::KeyKinds;
use super::names::{NameRule, names};

/// What one peer is known by: any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its certificates.
    pub certificates: Vec<Certificate>,
    /// Its keys, in whichever certificates.
    pub keys: Vec<KeyFingerprint>,
    /// Its names, in certificates that an authority has signed.
    pub names: Vec<NameRule>,
}

/// Clients that are let in.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    /// Each.
    pub peers: Vec<Peer>,
    /// Who signs certificates of those that are known by names.
    pub authorities: Vec<AuthorityCertificate>,
    /// What these have revoked. None: nothing is looked up. Else each certificate of a chain, but
    /// the authority's, must be of an issuer with a list that has not ended.
    pub revocations: Vec<RevocationList>,
    /// Which keys are taken.
    pub kinds: KeyKinds,
}

impl From<Vec<Certificate>> for Clients {
    fn from(certificates: Vec<Certificate>) -> Self {
        let alone = |certificate| Peer {
            certificates: vec![certificate],
            ..Peer::default()
        };
        Self {
            peers: certificates.into_iter().map(alone).collect(),
            ..Self::default()
        }
    }
}

/// The one server that is talked to.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// What it is known by, but for names.
    pub peer: Peer,
    /// Or who has signed its certificate for its name.
    pub named: Option<NamedServer>,
}

/// A server by its name.
#[derive(Debug, Clone)]
pub struct NamedServer {
    /// Who signs its certificates.
    pub authorities: Vec<AuthorityCertificate>,
    /// Its name in them: DNS, or an IP address.
    pub name: ServerName<'static>,
}

impl NamedServer {
    /// A name as it is written.
    ///
    /// # Errors
    /// [`TlsError::NoServerName`].
    pub fn new(authorities: Vec<AuthorityCertificate>, name: &str) -> Result<Self, TlsError> {
        let parsed = ServerName::try_from(name.to_owned());
        let name = parsed.map_err(|_| TlsError::NoServerName(name.to_owned()))?;
        Ok(Self { authorities, name })
    }
}

impl From<Certificate> for Server {
    fn from(certificate: Certificate) -> Self {
        let peer = Peer {
            certificates: vec![certificate],
            ..Peer::default()
        };
        Self { peer, named: None }
    }
}

impl Server {
    /// Kinds of keys that are taken: those of what was given. A fingerprint means one key, of
    /// whichever kind.
    pub(super) fn kinds(&self) -> KeyKinds {
        if !self.peer.keys.is_empty() {
            return KeyKinds::Both;
        }
        let pinned = self.peer.certificates.iter().map(Certificate::kind);
        let authorities = self.named.iter().flat_map(|named| &named.authorities);
        KeyKinds::of(pinned.chain(authorities.map(AuthorityCertificate::kind)))
    }
}

/// Why a client is not let in, as said of its certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody is known by it.
    #[error("is not pinned")]
    Unknown,
    /// No authority stands for it.
    #[error("is not pinned, and its chain is refused: {0}")]
    Chain(&'static str),
    /// It is somebody's, and of no use.
    #[error("cannot be used: {0}")]
    Unusable(String),
    /// No name of it is anybody's.
    #[error("is signed by an authority, and has no name of a client")]
    NoName,
    /// Its names are several clients'.
    #[error("is signed by an authority, and has names of several clients")]
    SeveralNames,
    /// Two forms of its key's fingerprint are those of two clients.
    #[error(
        "has a key of several clients, each of which is known by another form of its fingerprint: keep one"
    )]
    SeveralKeys,
}

/// A client that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recognised {
    /// Which of the peers.
    pub peer: usize,
    /// Until when its certificate is valid, since the Unix epoch.
    pub not_after: Option<Duration>,
}

/// Decides which client a certificate is of.
#[derive(Debug)]
pub struct Known {
    peers: Vec<Peer>,
    authorities: Vec<Chain<dyn ClientCertVerifier>>,
    /// When lists of what is revoked are to be followed by others.
    lists_end: Vec<Duration>,
    kinds: KeyKinds,
}

/// Most certificates beside a client's own: as long as chains may be (webpki, "path depth").
const OTHERS_MAX: usize = 6;

impl Known {
    /// Those clients.
    ///
    /// # Errors
    /// [`TlsError::NoPins`] if there is nobody; if something of what they are known by is refused.
    pub fn new(clients: Clients) -> Result<Self, TlsError> {
        let mut certificates = clients.peers.iter().flat_map(|peer| &peer.certificates);
        certificates.try_for_each(|certificate| certificate.check_kind(clients.kinds))?;
        let is_known = |peer: &Peer| {
            let by_name = !clients.authorities.is_empty() && !peer.names.is_empty();
            by_name || !peer.certificates.is_empty() || !peer.keys.is_empty()
        };
        if !clients.peers.iter().any(is_known) {
            return Err(TlsError::NoPins);
        }
        Ok(Self {
            authorities: chain::of_clients(
                &clients.authorities,
                &clients.revocations,
                clients.kinds,
            )?,
            lists_end: (clients.revocations.iter())
                .map(RevocationList::next_update)
                .collect(),
            peers: clients.peers,
            kinds: clients.kinds,
        })
    }

    /// Which client has shown this certificate: decided of each connection here, and nowhere else.
    /// Whether it may be taken for what it says is checked before, in the handshake. `others` have
    /// come with it.
    ///
    /// # Errors
    /// It is nobody's.
    pub fn recognise(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Duration,
    ) -> Result<Recognised, Refusal> {
        let (peer, certificate, end) = match pinned(&self.peers, shown) {
            Some((peer, certificate)) => (peer, certificate?, None),
            None if self.authorities.is_empty() => return Err(Refusal::Unknown),
            None => (self.named(shown)?, usable(shown)?, self.end(others, now)),
        };
        self.check_kind(&certificate)?;
        Ok(Recognised {
            peer,
            not_after: certificate.not_after().into_iter().chain(end).min(),
        })
    }

    /// When the first of those ends that stand for a certificate: others that have come with it, an
    /// authority, a list of what is revoked. Who is let in by others comes back.
    fn end(&self, others: &[CertificateDer<'_>], now: Duration) -> Option<Duration> {
        let authorities = self.authorities.iter();
        let ends = authorities.filter_map(|chain| chain.authority.not_after());
        let ends = ends.chain(others.iter().filter_map(end_of));
        let ends = ends.chain(self.lists_end.iter().copied());
        ends.filter(|end| *end > now).min()
    }

    /// Whose names these are: each name is of the peer whose rule is most exact about it.
    fn named(&self, shown: &CertificateDer<'_>) -> Result<usize, Refusal> {
        let unreadable = || Refusal::Unusable("its names cannot be read".to_owned());
        let (_, parsed) = X509Certificate::from_der(shown).map_err(|_| unreadable())?;
        let names = names(&parsed).ok_or_else(unreadable)?;
        let whose = names.iter().filter_map(|name| {
            let rules = self.peers.iter().enumerate();
            let rules = rules.flat_map(|(peer, known)| known.names.iter().map(move |r| (peer, r)));
            let fitting = rules.filter_map(|(peer, rule)| Some((rule.exactness(*name)?, peer)));
            fitting.max().map(|(_, peer)| peer)
        });
        let whose: BTreeSet<_> = whose.collect();
        match (whose.first(), whose.len()) {
            (Some(peer), 1) => Ok(*peer),
            (None, _) => Err(Refusal::NoName),
            (Some(_), _) => Err(Refusal::SeveralNames),
        }
    }

    fn check_kind(&self, certificate: &Certificate) -> Result<(), Refusal> {
        let checked = certificate.check_kind(self.kinds);
        checked.map_err(|error| Refusal::Unusable(error.to_string()))
    }

    /// All that is to be known before the handshake's signature is looked at.
    fn check(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refused> {
        match pinned(&self.peers, shown) {
            Some((_, certificate)) => check_alone(&certificate?, others, now)?,
            // A pin is one certificate, so a chain is never right: refusing it leaves nothing
            // unpinned to parse.
            None if self.authorities.is_empty() && !others.is_empty() => {
                return Err(CertificateError::UnknownIssuer.into());
            }
            None if self.authorities.is_empty() => return Err(Refusal::Unknown.into()),
            // For strangers, whose signatures cost time.
            None if others.len() > OTHERS_MAX => {
                return Err(Refusal::Chain("more certificates have come than a chain has").into());
            }
            None => chain::check(&self.authorities, others, now, |authority| {
                authority.verify_client_cert(shown, others, now).map(drop)
            })?,
        }
        self.recognise(shown, others, Duration::from_secs(now.as_secs()))?;
        Ok(())
    }
}

/// Why not: with an alert of its own, or by a decision of ours.
enum Refused {
    Rustls(rustls::Error),
    Ours(Refusal),
    Chain(rustls::Error),
}

impl From<CertificateError> for Refused {
    fn from(error: CertificateError) -> Self {
        Self::Rustls(error.into())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Ours(refusal)
    }
}

impl From<rustls::Error> for Refused {
    fn from(error: rustls::Error) -> Self {
        Self::Chain(error)
    }
}

impl Refused {
    /// What is said to the log, if that is ours to say, and what rustls makes an alert of.
    fn split(self) -> (Option<Refusal>, rustls::Error) {
        match self {
            Self::Rustls(error) => (None, error),
            Self::Chain(error) => {
                let refusal = Refusal::Chain(chain::reason(&error));
                let error = if matches!(error, rustls::Error::InvalidCertificate(_)) {
                    error
                } else {
                    // A list that nobody can trust: to the client it is as if there were none.
                    CertificateError::UnknownRevocationStatus.into()
                };
                (Some(refusal), error)
            }
            Self::Ours(refusal) => {
                let error = CertificateError::ApplicationVerificationFailure;
                (Some(refusal), error.into())
            }
        }
    }
}

/// Whose certificate, else whose key, has been shown. A certificate that is pinned is taken from
/// the pin, and not from what the peer sent.
fn pinned(
    peers: &[Peer],
    shown: &CertificateDer<'_>,
) -> Option<(usize, Result<Certificate, Refusal>)> {
    let whole = peers.iter().enumerate().find_map(|(number, peer)| {
        let pin = peer.certificates.iter().find(|pin| pin.der == *shown)?;
        Some((number, Ok(pin.clone())))
    });
    whole.or_else(|| {
        if peers.iter().all(|peer| peer.keys.is_empty()) {
            return None;
        }
        let info = ParsedCertificate::try_from(shown).ok()?;
        let key = KeyFingerprint::both(&info.subject_public_key_info())?;
        let has_key = |peer: &Peer| peer.keys.iter().any(|pin| key.contains(pin));
        let mut whose = (0..).zip(peers).filter(|(_, peer)| has_key(peer));
        let (number, _) = whose.next()?;
        let certificate = match whose.next() {
            Some(_) => Err(Refusal::SeveralKeys),
            None => usable(shown),
        };
        Some((number, certificate))
    })
}

/// When one ends, if it can be read.
fn end_of(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Validity::of(&parsed).end()
}

fn usable(shown: &CertificateDer<'_>) -> Result<Certificate, Refusal> {
    Certificate::from_der(shown.to_vec()).map_err(|error| Refusal::Unusable(error.to_string()))
}

/// A client's certificate that is pinned: in its time, and without others, which nobody would look
/// at.
fn check_alone(
    certificate: &Certificate,
    others: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), CertificateError> {
    if !others.is_empty() {
        return Err(CertificateError::UnknownIssuer);
    }
    certificate.validity().check_for_rustls(now)
}

fn verify_signature(
    kinds: KeyKinds,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    verify_tls13_signature(message, certificate, signature, kinds.algorithms())
}

/// The verifier of servers.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub known: Arc<Known>,
    /// Hears of each certificate that a client shows, and why it is refused if that is ours to say.
    pub judged: fn(Fingerprint, Option<Refusal>),
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Names of pinned certificates and of authorities are nobody's business before
        // authentication.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let checked = self.known.check(end_entity, intermediates, now);
        let (refusal, error) = match checked.map_err(Refused::split) {
            Ok(()) => (None, None),
            Err((refusal, error)) => (refusal, Some(error)),
        };
        (self.judged)(Fingerprint::of(end_entity), refusal);
        error.map_or_else(|| Ok(ClientCertVerified::assertion()), Err)
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
        verify_signature(self.known.kinds, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.kinds.algorithms().supported_schemes()
    }
}

/// The error that a client returns for a server that it does not know: the certificate's
/// fingerprint, and what it knows the server by, for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server's certificate is {found}, but {pinned} is pinned")]
pub struct WrongServer {
    /// What the server showed.
    pub found: Fingerprint,
    /// What was pinned.
    pub pinned: String,
}

/// The verifier of clients.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    peer: Peer,
    name: Option<ServerName<'static>>,
    authorities: Vec<Chain<dyn ServerCertVerifier>>,
    kinds: KeyKinds,
}

impl ServerVerifier {
    pub fn new(server: Server) -> Result<Self, TlsError> {
        let kinds = server.kinds();
        let (name, authorities) = match server.named {
            Some(named) => (
                Some(named.name),
                chain::of_servers(&named.authorities, kinds)?,
            ),
            None => (None, Vec::new()),
        };
        if server.peer.certificates.is_empty()
            && server.peer.keys.is_empty()
            && authorities.is_empty()
        {
            return Err(TlsError::NoServer);
        }
        Ok(Self {
            peer: server.peer,
            name,
            authorities,
            kinds,
        })
    }

    fn wrong_server(&self, found: &[u8]) -> CertificateError {
        let certificates = self.peer.certificates.iter();
        let certificates = certificates.map(|pin| pin.fingerprint().to_string());
        let keys = self.peer.keys.iter().map(|key| format!("the key {key}"));
        let pinned: Vec<_> = certificates.chain(keys).collect();
        let wrong = WrongServer {
            found: Fingerprint::of(found),
            pinned: pinned.join(" or "),
        };
        CertificateError::Other(rustls::OtherError(Arc::new(wrong)))
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = match pinned(std::slice::from_ref(&self.peer), end_entity) {
            Some((_, certificate)) => {
                let certificate = certificate.map_err(|_| CertificateError::BadEncoding)?;
                certificate.validity().check_for_rustls(now)?;
                certificate
            }
            None => {
                let Some(name) = &self.name else {
                    return Err(self.wrong_server(end_entity).into());
                };
                chain::check(&self.authorities, intermediates, now, |authority| {
                    authority
                        .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
                        .map(drop)
                })?;
                usable(end_entity).map_err(|_| CertificateError::BadEncoding)?
            }
        };
        let kind = certificate.check_kind(self.kinds);
        kind.map_err(|_| CertificateError::ApplicationVerificationFailure)?;
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
        verify_signature(self.kinds, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.kinds.algorithms().supported_schemes()
    }
}
