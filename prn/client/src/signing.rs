//! Signed starts: the client's word, with the key that the server knows it by.
//!
//! What is signed is the digest of what would start, and that is made here, of what was asked for
//! and of what the server has filled in: each of that is compared with what was asked for first. A
//! digest that a server tells is compared, and never signed. docs/signed-starts.md has the form.

use std::time::{Duration, SystemTime};

use prn_proto::signer::START_HEADER;
use prn_proto::v1;

use crate::client::Client;
use crate::digest::{digest, hex, text};
use crate::error::ClientError;
use crate::mint::mint_id;
use crate::start::{StartSpec, Started};
use crate::wire::from_wire_duration;

/// The longest time that a signature for what waits counts, whatever a server says: the longest that one lets
/// it (signed-start-window).
const LATER_MAX: Duration = Duration::from_secs(86_400);

/// For how long a signature counts, if the server allows that much.
const WINDOW: Duration = Duration::from_secs(60);

/// A signature for a fleet begins so long ago: so much the clocks of client and hosts may differ.
const SKEW: Duration = Duration::from_secs(30);

/// Most time between the start that a server tells and the one that it compares with.
const START_TIME: Duration = Duration::from_secs(1);

/// A start that is signed: the same request can be sent again, and starts once.
#[derive(Debug, Clone)]
pub struct SignedStart {
    request: v1::StartRequest,
    not_after: SystemTime,
}

impl SignedStart {
    /// When its signature counts no longer.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What is sent.
    pub fn request(&self) -> &v1::StartRequest {
        &self.request
    }
}

impl Client {
    /// Whether a start is to be signed.
    pub fn signs(&self, spec: &StartSpec) -> bool {
        spec.sign || self.signing.signs_all
    }

    /// Signs a start for this run of the server, for a minute at most, half of it before now: so
    /// much the clocks may differ. The server is asked what it would fill in; nothing is started.
    ///
    /// # Errors
    /// As [`Client::check_access`]; [`ClientError::NotSigned`] if what would start is not what was
    /// asked for, or the server is not who it says; [`ClientError::Refused`] if it would not start
    /// it.
    pub async fn sign(&self, spec: &StartSpec) -> Result<SignedStart, ClientError> {
        let mut foretold = self.foretold(spec).await?;
        self.check_audience(&foretold.run_audience)?;
        let begin = now().saturating_sub(foretold.window.min(WINDOW) / 2);
        let window = foretold.window.min(WINDOW);
        let audience = std::mem::take(&mut foretold.run_audience);
        self.signed(foretold, audience, begin, window)
    }

    /// Signs a start for all servers of a fleet: what this one would fill in is written into the request,
    /// so that another one starts the same or refuses it. What was asked for is compared with that first. It
    /// counts from half a minute ago, as long as this server lets a signature count and a day at most, on
    /// each server once.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn sign_for_fleet(
        &self,
        spec: &StartSpec,
        fleet: &str,
    ) -> Result<SignedStart, ClientError> {
        let foretold = self.foretold(spec).await?;
        self.signed_for_later(foretold, fleet.to_owned()).await
    }

    /// The same for this run of this server alone: it is started here once, and nowhere else, whatever
    /// whoever keeps it until then says.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn sign_for_later(&self, spec: &StartSpec) -> Result<SignedStart, ClientError> {
        let foretold = self.foretold(spec).await?;
        self.check_audience(&foretold.run_audience)?;
        let audience = foretold.run_audience.clone();
        self.signed_for_later(foretold, audience).await
    }

    async fn signed_for_later(
        &self,
        mut foretold: Foretold,
        audience: String,
    ) -> Result<SignedStart, ClientError> {
        // Before anything is filled in: else what the server says would be compared with itself.
        digest(&foretold.request, &foretold.startable).map_err(ClientError::NotSigned)?;
        fill_in(&mut foretold.request, &foretold.startable);
        let window = foretold.window.min(LATER_MAX);
        let begin = now().saturating_sub(SKEW.min(window / 2));
        // What begins before the server did is refused.
        let started = self.server().await?.started_at;
        let started = started.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let begun = started.unwrap_or_default().saturating_add(START_TIME);
        let begin = begin.max(begun).min(now());
        self.signed(foretold, audience, begin, window)
    }

    /// What the server would start, if it would.
    async fn foretold(&self, spec: &StartSpec) -> Result<Foretold, ClientError> {
        let mut spec = spec.clone();
        spec.id = Some(spec.id.map_or_else(mint_id, Ok)?);
        let expected = spec.expect_digest.take();
        let request = v1::StartRequest::try_from(&spec)?;
        let question = v1::CheckAccessRequest {
            start: Some(request.clone()),
            ..v1::CheckAccessRequest::default()
        };
        let answer = self
            .repeatable(
                self.call_timeout,
                question,
                |mut service, request| async move { service.check_access(request).await },
            )
            .await?;
        if !answer.allowed {
            return Err(ClientError::foretold(answer));
        }
        let none = ClientError::NotSigned("the server is of before there were signed starts");
        let (Some(startable), Some(signed)) = (answer.start, answer.signed_starts) else {
            return Err(none);
        };
        let window = signed.window_max.and_then(from_wire_duration);
        Ok(Foretold {
            request,
            startable,
            expected,
            run_audience: signed.run_audience,
            window: window.unwrap_or(WINDOW),
        })
    }

    fn signed(
        &self,
        foretold: Foretold,
        audience: String,
        begin: Duration,
        window: Duration,
    ) -> Result<SignedStart, ClientError> {
        let Foretold {
            mut request,
            startable,
            expected,
            run_audience: _,
            window: _,
        } = foretold;
        let digest = digest(&request, &startable).map_err(ClientError::NotSigned)?;
        // Without one, an answer that another digest starts would not tell what was altered.
        request.expect_digest = expected.unwrap_or_else(|| hex(&digest));
        let (signature, not_after) =
            self.signature(&digest, &request.id, audience, (begin, window))?;
        request.signature = Some(signature);
        Ok(SignedStart { request, not_after })
    }

    /// Starts what was signed. To be repeated, on a new connection too, while the signature counts.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub async fn start_signed(&self, signed: &SignedStart) -> Result<Started, ClientError> {
        self.start_request(signed.request.clone()).await
    }

    /// Whether an audience is of the server that this connection leads to: one that was taken over
    /// must get no signature that counts for another.
    fn check_audience(&self, audience: &str) -> Result<(), ClientError> {
        let named = audience.split_once('/').map(|(server, _)| server);
        match (self.signing.server_key(), named) {
            (Some(server), Some(named)) if hex(&server) == named => Ok(()),
            (Some(_), Some(_)) => Err(ClientError::NotSigned(
                "the server names another server's key as its own",
            )),
            (Some(_), None) => Err(ClientError::NotSigned(
                "the server does not name this run of it",
            )),
            (None, _) => Err(ClientError::NotSigned(
                "the server's certificate has a key of another kind than Ed25519 and P-256",
            )),
        }
    }

    fn signature(
        &self,
        digest: &[u8; 32],
        id: &str,
        audience: String,
        (begin, window): (Duration, Duration),
    ) -> Result<(v1::StartSignature, SystemTime), ClientError> {
        let begin = micros(begin);
        let end = begin.saturating_add(micros(window));
        let mut bytes = START_HEADER.to_vec();
        text(&mut bytes, "digest", hex(digest));
        text(&mut bytes, "id", id);
        text(&mut bytes, "audience", &audience);
        text(&mut bytes, "not-before", begin.to_string());
        text(&mut bytes, "not-after", end.to_string());
        let signer = &self.signing.signer;
        let signature = signer.sign(&bytes);
        let signature = signature.ok_or(ClientError::NotSigned("the key does not sign"))?;
        let at = |micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        let signed = v1::StartSignature {
            public_key: signer.public_key(),
            audience,
            not_before: Some(at(begin).into()),
            not_after: Some(at(end).into()),
            signature,
        };
        Ok((signed, at(end)))
    }
}

/// What a server would start.
struct Foretold {
    request: v1::StartRequest,
    /// What it has filled in.
    startable: v1::Startable,
    /// The digest that the caller expects.
    expected: Option<String>,
    /// What a signature for this run of the server is for.
    run_audience: String,
    /// For how long it lets a signature count.
    window: Duration,
}

/// Writes what a server would fill in into the request, as far as that has a value.
fn fill_in(request: &mut v1::StartRequest, startable: &v1::Startable) {
    request.limits = startable.limits.or(request.limits);
    if startable.output_max_bytes != 0 {
        request.output_max_bytes = startable.output_max_bytes;
    }
    request.stop_grace = startable.stop_grace.or(request.stop_grace);
    if startable.profile() != v1::Profile::Unspecified {
        request.profile = startable.profile;
    }
}

/// The time since 1970.
fn now() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
