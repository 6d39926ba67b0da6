//! Clients: from a table to a principal and what it is known by.

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use prn_ipc_protocol::lines::chain;
use prn_ipc_protocol::policy::Principal;
use prn_ipc_protocol::types::AccessName;
use prn_proto::tls::{Certificate, KeyFingerprint, NameRule, Peer, TlsError};
use toml::Spanned;

use super::files::Part;
use super::listed::Access;
use super::tables::{ClientTable, Problem, Source};
use crate::certificates::{self, Reading};
use crate::warning::Warning;

/// Adds all clients of a file. Roles must be known.
pub(super) fn add(
    access: &mut Access,
    part: &Part,
    reading: &Reading<'_>,
    problems: &mut Vec<Problem>,
) {
    let (now, warn) = (reading.now, reading.warn);
    for table in &part.tables.client {
        let (span, table) = (table.span(), table.get_ref());
        let before = problems.len();
        check_names(access, part, table, problems);
        let known = known(access, part, table, reading, problems);
        if problems.len() > before {
            continue;
        }
        let end = table.not_after.as_ref();
        if let Some(end) = end.filter(|end| Duration::from_micros(end.get_ref().0.0) <= now) {
            let what = "this time has passed, so the client may do nothing";
            warn(Warning::Access(part.source.problem(&end.span(), what)));
        }
        let principal = Principal {
            role: table.role.get_ref().clone(),
            group: table.group.clone(),
            not_after: end.map(|end| end.get_ref().0),
            must_sign: table.require_signed_starts,
        };
        let name = table.name.get_ref().clone();
        access
            .clients
            .insert(name.clone(), part.source.place(&span));
        access.policy.principals.insert(name.clone(), principal);
        access.known.push((name, known));
    }
}

/// A name that nobody else has, and a role that there is.
fn check_names(access: &Access, part: &Part, table: &ClientTable, problems: &mut Vec<Problem>) {
    let (name, role) = (table.name.get_ref(), table.role.get_ref());
    if let Some(place) = access.clients.get(name) {
        let what = format!(
            "there is a client {name} already, at {place}: several certificates of one client are a list, cert = [\"…\", \"…\"]"
        );
        problems.push(part.source.problem(&table.name.span(), what));
    }
    // Of one that is refused that was said.
    if !access.policy.roles.contains_key(role) && !access.roles.contains_key(role) {
        let all: Vec<_> = access.policy.roles.keys().map(AccessName::as_str).collect();
        let what = format!(
            "there is no role {role}: there are {}; or write a [[role]] of that name",
            all.join(", ")
        );
        problems.push(part.source.problem(&table.role.span(), what));
    }
}

/// What it is known by: one thing at least, and nothing that somebody else is known by. A
/// certificate that is pinned here and whose key is pinned there is both's.
fn known(
    access: &Access,
    part: &Part,
    table: &ClientTable,
    reading: &Reading<'_>,
    problems: &mut Vec<Problem>,
) -> Peer {
    let source = &part.source;
    if table.cert.is_none() && table.fingerprint.is_none() && table.san.is_none() {
        let what = "nothing says what this client is known by: add its certificate (cert), the fingerprint of its key (fingerprint), or its name in certificates of client-ca (san)";
        problems.push(source.problem(&table.name.span(), what));
    }
    if table.require_signed_starts && table.cert.is_none() && table.fingerprint.is_none() {
        let what = "require-signed-starts: no key of this client is known here, so it could sign nothing: add its certificate (cert), or the fingerprint of its key (fingerprint)";
        problems.push(source.problem(&table.name.span(), what));
    }
    let mut peer = Peer::default();
    if let Some(files) = &table.cert {
        let read = |file: &PathBuf| {
            let path = source.path.with_file_name(file);
            let read = certificates::usable(&path, reading);
            let certificate = read.map_err(|error| chain(&error))?;
            let key = keys_of(&certificate);
            let other = other(access, |theirs| {
                theirs.certificates.contains(&certificate) || shares(theirs, &key)
            });
            let what = || format!("{} is the certificate", path.display());
            other.map_or(Ok(certificate.clone()), |other| Err(same(what(), &other)))
        };
        let files = Given::of(files, files.get_ref().as_slice());
        peer.certificates = files.each(source, "cert", read, problems);
    }
    if let Some(texts) = &table.fingerprint {
        let read = |text: &String| {
            let key: KeyFingerprint = parsed(text)?;
            let other = other(access, |theirs| shares(theirs, &[key]) || has(theirs, key));
            other.map_or(Ok(key), |other| {
                Err(same(format!("{key} is a key"), &other))
            })
        };
        let texts = Given::of(texts, texts.get_ref().as_slice());
        peer.keys = texts.each(source, "fingerprint", read, problems);
    }
    if let Some(rules) = &table.san {
        let read = |text: &String| {
            let rule: NameRule = parsed(text)?;
            let other = other(access, |theirs| theirs.names.contains(&rule));
            let what = || format!("{rule} is a name");
            other.map_or(Ok(rule.clone()), |other| Err(same(what(), &other)))
        };
        let texts = Given::of(rules, rules.get_ref().as_slice());
        peer.names = texts.each(source, "san", read, problems);
        if reading.options.client_ca.is_empty() {
            let what = "a name counts in certificates that an authority has signed, and none is named: add client-ca = [\"…\"] above all tables";
            problems.push(source.problem(&rules.span(), what));
        }
    }
    peer
}

/// The client that this is true of as well.
fn other(access: &Access, is_theirs: impl Fn(&Peer) -> bool) -> Option<AccessName> {
    let mut known = access.known.iter();
    let (name, _) = known.find(|(_, theirs)| is_theirs(theirs))?;
    Some(name.clone())
}

fn same(what: String, other: &AccessName) -> String {
    format!("{what} of client {other} as well: nobody could tell them apart, so make one for each")
}

fn keys_of(certificate: &Certificate) -> Vec<KeyFingerprint> {
    certificate.key_fingerprints().to_vec()
}

/// Somebody is known by one of these keys.
fn shares(theirs: &Peer, keys: &[KeyFingerprint]) -> bool {
    theirs.keys.iter().any(|key| keys.contains(key))
}

/// Somebody has this key in a certificate.
fn has(theirs: &Peer, key: KeyFingerprint) -> bool {
    let mut certificates = theirs.certificates.iter();
    certificates.any(|certificate| certificate.key_fingerprints().contains(&key))
}

/// What stands at one key of a table.
struct Given<'a, T> {
    span: Range<usize>,
    all: &'a [T],
}

impl<'a, T> Given<'a, T> {
    fn of<W>(spanned: &Spanned<W>, all: &'a [T]) -> Self {
        let span = spanned.span();
        Self { span, all }
    }

    /// Each that can be read, and one at least.
    fn each<R>(
        &self,
        source: &Source,
        key: &str,
        read: impl Fn(&T) -> Result<R, String>,
        problems: &mut Vec<Problem>,
    ) -> Vec<R> {
        if self.all.is_empty() {
            let what = format!(
                "{key} is empty, so nobody could be this client by it: fill it, or take it away"
            );
            problems.push(source.problem(&self.span, what));
        }
        let mut found = Vec::new();
        for one in self.all {
            match read(one) {
                Ok(one) => found.push(one),
                Err(what) => problems.push(source.problem(&self.span, what)),
            }
        }
        found
    }
}

fn parsed<T: FromStr<Err = TlsError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: TlsError| error.to_string())
}
