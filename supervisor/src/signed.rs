//! Whether a start is signed as it has to be, and which ids were signed for. Runs in the
//! supervisor; pure.
//!
//! The digest is of what is about to be run, so the frontend has no say in what was signed. An id
//! is remembered until its signature ends, whatever else is forgotten of it: until then the same
//! request can come again.

use std::collections::{BTreeMap, HashMap, HashSet};

use prn_ipc_protocol::message::{Input, Refusal, StartSpec};
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::signed::{SignatureRefusal, Signing, StartSignature};
use prn_ipc_protocol::types::{AccessName, Digest, Id, UnixMicros};

/// Most ids that are remembered, and of one signer: who signs much for a whole day must not keep
/// others from it. All of them take less than 10 MiB.
const MOST: usize = 65_536;
const MOST_OF_ONE: u32 = 16_384;

/// How many ids are forgotten at once at most: more than are added.
const AT_ONCE: usize = 32;

/// What signatures are compared with, beside the policy.
#[derive(Debug)]
pub(crate) struct Signatures {
    /// When this run began.
    began: UnixMicros,
    /// The latest time that was seen: a clock that is set back revives nothing.
    latest: UnixMicros,
    /// The ids that were signed for, by the end of their signatures, with the signers.
    ends: BTreeMap<(UnixMicros, Id), AccessName>,
    ids: HashSet<Id>,
    /// How many there are of each signer.
    counts: HashMap<AccessName, u32>,
}

/// A start that is to be signed, or is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signable<'a> {
    /// Whose it is.
    pub owner: &'a AccessName,
    /// What it is.
    pub spec: &'a StartSpec,
    /// The digest of what it comes to.
    pub digest: Digest,
    /// The audience of this run, if that has a name.
    pub run: Option<&'a str>,
}

impl Signatures {
    /// Of a run that begins now.
    pub fn new(now: UnixMicros) -> Self {
        Self {
            began: now,
            latest: now,
            ends: BTreeMap::new(),
            ids: HashSet::new(),
            counts: HashMap::new(),
        }
    }

    /// Takes note of the time.
    pub fn pass(&mut self, now: UnixMicros) {
        self.latest = self.latest.max(now);
    }

    /// Whether a start of this id was taken that was signed.
    pub fn knows(&self, id: Id) -> bool {
        self.ids.contains(&id)
    }

    /// Whether a start is signed as its owner's have to be, if it is.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        policy: &Policy,
        start: Signable<'_>,
        signature: Option<&StartSignature>,
    ) -> Result<(), Refusal> {
        check_input(policy, start.owner, start.spec)?;
        let verified = match signature {
            Some(signature) => self.verify(&policy.signing, start, signature),
            None if policy.must_sign(start.owner) => Err(SignatureRefusal::Required),
            None => Ok(()),
        };
        verified.map_err(Refusal::Signature)
    }

    fn verify(
        &self,
        signing: &Signing,
        start: Signable<'_>,
        signature: &StartSignature,
    ) -> Result<(), SignatureRefusal> {
        use SignatureRefusal as No;
        let (now, begins, ends) = (self.latest, signature.not_before, signature.not_after);
        let key = signing.signer(signature).ok_or(No::UnknownKey)?;
        if key.not_after.is_some_and(|end| now >= end) {
            return Err(No::KeyExpired);
        }
        let audience = signature.audience.as_str();
        let is_fleet = signing.fleets.iter().any(|name| name.as_str() == audience);
        if start.run != Some(audience) && !is_fleet {
            return Err(No::OtherAudience);
        }
        if is_fleet && begins < self.began {
            return Err(No::BeforeRun(self.began));
        }
        if ends.since(begins) > signing.window_max.duration() {
            return Err(No::WindowTooLong(signing.window_max));
        }
        if now < begins {
            return Err(No::NotYet(now));
        }
        if now >= ends {
            return Err(No::Expired(now));
        }
        if !signature.is_of(start.spec.id, start.digest) {
            return Err(No::Invalid);
        }
        Ok(())
    }

    /// Remembers an id until its signature ends.
    ///
    /// # Errors
    /// It is remembered, or too many are.
    pub fn take(&mut self, id: Id, owner: &AccessName, end: UnixMicros) -> Result<(), Refusal> {
        self.forget_ended();
        let of_owner = self.counts.get(owner).copied().unwrap_or(0);
        let refusal = if self.knows(id) {
            SignatureRefusal::Replayed
        } else if of_owner >= MOST_OF_ONE {
            SignatureRefusal::TooMany(MOST_OF_ONE)
        } else if self.ids.len() >= MOST {
            SignatureRefusal::TooMany(u32::try_from(MOST).unwrap_or(u32::MAX))
        } else {
            self.counts.insert(owner.clone(), of_owner + 1);
            self.ends.insert((end, id), owner.clone());
            self.ids.insert(id);
            return Ok(());
        };
        Err(Refusal::Signature(refusal))
    }

    /// Forgets some of the ids whose signatures have ended.
    fn forget_ended(&mut self) {
        for _ in 0..AT_ONCE {
            let first = self.ends.first_entry();
            let Some(ended) = first.filter(|first| first.key().0 <= self.latest) else {
                return;
            };
            let ((_, id), owner) = ended.remove_entry();
            self.ids.remove(&id);
            match self.counts.get_mut(&owner) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => drop(self.counts.remove(&owner)),
            }
        }
    }
}

/// What feeds a process is not signed, so who has to sign feeds none.
///
/// # Errors
/// It would be fed.
pub(crate) fn check_input(
    policy: &Policy,
    owner: &AccessName,
    spec: &StartSpec,
) -> Result<(), Refusal> {
    if spec.process.input != Input::Nothing {
        return check_feeding(policy, Some(owner));
    }
    Ok(())
}

/// The same of what somebody, if anybody, has started before that was asked for.
///
/// # Errors
/// It is fed no more.
pub(crate) fn check_feeding(policy: &Policy, owner: Option<&AccessName>) -> Result<(), Refusal> {
    if owner.is_some_and(|owner| policy.must_sign(owner)) {
        return Err(Refusal::Signature(SignatureRefusal::Input));
    }
    Ok(())
}

/// Whose start it is: the signer's, if it is signed.
///
/// # Errors
/// Nobody has the key.
pub(crate) fn owner<'a>(
    policy: &'a Policy,
    via: &'a AccessName,
    signature: Option<&StartSignature>,
) -> Result<&'a AccessName, Refusal> {
    let Some(signature) = signature else {
        return Ok(via);
    };
    let key = policy.signing.signer(signature);
    let key = key.ok_or(Refusal::Signature(SignatureRefusal::UnknownKey))?;
    Ok(&key.principal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::spec;
    use prn_ipc_protocol::policy::Principal;
    use prn_ipc_protocol::signed::SigningKey;
    use prn_ipc_protocol::types::Millis;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const BEGAN: u64 = 1_000_000_000;
    const RUN: &str = "server/run";
    const DIGEST: Digest = Digest([9; 32]);

    fn anna() -> AccessName {
        "anna".to_owned().try_into().unwrap()
    }

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    /// Signed from a time to another, both after the run's beginning.
    fn signed(from: u64, to: u64, audience: &str) -> StartSignature {
        let info = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
        let mut signature = StartSignature {
            key: [&info[..], pair().public_key().as_ref()]
                .concat()
                .try_into()
                .unwrap(),
            audience: audience.to_owned().try_into().unwrap(),
            not_before: UnixMicros(BEGAN + from),
            not_after: UnixMicros(BEGAN + to),
            signature: vec![0; 64].try_into().unwrap(),
        };
        let bytes = signature.signed_bytes(spec(&["true"]).id, DIGEST);
        signature.signature = pair().sign(&bytes).as_ref().to_vec().try_into().unwrap();
        signature
    }

    /// Anna has the key, in a certificate that ends then, and has to sign.
    fn policy(key_ends: u64) -> Policy {
        let window_max = Millis::try_from(60_000).unwrap();
        let principal = Principal {
            role: anna(),
            group: None,
            not_after: None,
            must_sign: true,
        };
        let key = SigningKey {
            principal: anna(),
            not_after: Some(UnixMicros(BEGAN + key_ends)),
        };
        Policy {
            principals: [(anna(), principal)].into(),
            signing: Signing {
                window_max,
                fleets: [anna()].into(),
                keys: [(signed(0, 0, RUN).fingerprint(), key)].into(),
                ..Signing::default()
            },
            ..Policy::default()
        }
    }

    fn outcome(
        now: u64,
        policy: &Policy,
        signature: Option<&StartSignature>,
    ) -> Result<(), Refusal> {
        let mut signatures = Signatures::new(UnixMicros(BEGAN));
        signatures.pass(UnixMicros(BEGAN + now));
        let start = Signable {
            owner: &anna(),
            spec: &spec(&["true"]),
            digest: DIGEST,
            run: Some(RUN),
        };
        signatures.check(policy, start, signature)
    }

    #[test]
    fn s12_each_time_audience_and_key_is_taken_or_has_its_refusal() {
        use SignatureRefusal as No;
        let now = UnixMicros(BEGAN + 50);
        let minute = 60_000_000;
        let most = Millis::try_from(60_000).unwrap();
        for (from, to, audience, expected) in [
            (0, 51, RUN, None),
            (50, 51, RUN, None),
            (50, 50 + minute, RUN, None),
            (51, 60, RUN, Some(No::NotYet(now))),
            (0, 50, RUN, Some(No::Expired(now))),
            (60, 40, RUN, Some(No::NotYet(now))),
            (49, 50 + minute, RUN, Some(No::WindowTooLong(most))),
            (0, 51, "server", Some(No::OtherAudience)),
            (0, 51, "server/ran", Some(No::OtherAudience)),
            (0, 51, "anna", None),
        ] {
            let signature = signed(from, to, audience);
            let found = outcome(50, &policy(1000), Some(&signature));
            let expected = expected.map_or(Ok(()), |no| Err(Refusal::Signature(no)));
            assert_eq!(found, expected, "{from} {to} {audience}");
        }
        let refused = |no| Err(Refusal::Signature(no));
        let good = signed(0, 100, RUN);
        assert_eq!(
            outcome(50, &policy(50), Some(&good)),
            refused(No::KeyExpired)
        );
        assert_eq!(outcome(50, &policy(1000), None), refused(No::Required));
        assert_eq!(
            outcome(50, &Policy::default(), Some(&good)),
            refused(No::UnknownKey)
        );
        assert_eq!(outcome(50, &Policy::default(), None), Ok(()));
        let mut early = signed(0, 100, "anna");
        early.not_before.0 = BEGAN - 1;
        let before = refused(No::BeforeRun(UnixMicros(BEGAN)));
        assert_eq!(outcome(50, &policy(1000), Some(&early)), before);
        early.not_before.0 = BEGAN + 1;
        assert_eq!(
            outcome(50, &policy(1000), Some(&early)),
            refused(No::Invalid)
        );
    }

    #[test]
    fn s12_an_id_is_known_until_its_end_and_no_clock_that_is_set_back_revives_it() {
        let id = |number: u32| Id::from_bytes(u128::from(number).to_be_bytes());
        let mut signatures = Signatures::new(UnixMicros(0));
        let no = |refusal| Err(Refusal::Signature(refusal));
        assert_eq!(signatures.take(id(0), &anna(), UnixMicros(10)), Ok(()));
        signatures.pass(UnixMicros(9));
        let again = signatures.take(id(0), &anna(), UnixMicros(20));
        assert_eq!(again, no(SignatureRefusal::Replayed));
        signatures.pass(UnixMicros(10));
        signatures.pass(UnixMicros(5));
        assert_eq!(signatures.latest, UnixMicros(10));
        assert_eq!(signatures.take(id(1), &anna(), UnixMicros(20)), Ok(()));
        assert!(!signatures.knows(id(0)), "it has ended for good");
        for number in 2..=MOST_OF_ONE {
            assert_eq!(signatures.take(id(number), &anna(), UnixMicros(20)), Ok(()));
        }
        let one_more = signatures.take(id(u32::MAX), &anna(), UnixMicros(20));
        assert_eq!(one_more, no(SignatureRefusal::TooMany(MOST_OF_ONE)));
        let ben = "ben".to_owned().try_into().unwrap();
        assert_eq!(signatures.take(id(u32::MAX), &ben, UnixMicros(20)), Ok(()));
        signatures.pass(UnixMicros(20));
        // They go faster than others come.
        for number in 0..MOST_OF_ONE / 16 {
            let new = id(1 << 20 | number);
            assert_eq!(signatures.take(new, &anna(), UnixMicros(30)), Ok(()));
        }
        assert_eq!(signatures.ids.len(), signatures.ends.len());
        assert_eq!(signatures.counts[&anna()], MOST_OF_ONE / 16);
    }
}
