//! Names of a certificate that an authority has signed, and rules which of them is whose.
//!
//! Runs in the frontend, on what an authority of the operator's has signed. A name is compared as
//! it is written, byte for byte but for the case of DNS; nothing is decoded or made shorter before.

use std::fmt;
use std::str::FromStr;

use x509_parser::prelude::{GeneralName, X509Certificate};

use super::error::TlsError;

/// Which names of certificates are somebody's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameRule {
    /// This URI.
    Uri(String),
    /// URIs that begin with this, which ends with a slash behind the authority.
    UriBelow(String),
    /// This DNS name, in small letters.
    Dns(String),
    /// DNS names of one label before this, in small letters.
    DnsBelow(String),
}

/// A name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Uri(&'a str),
    Dns(&'a str),
}

/// How exactly a rule names what it is about. A greater one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exactness {
    /// So many bytes of it.
    Part(usize),
    /// All of it.
    Whole,
}

impl NameRule {
    /// How exactly it names this. `None`: it does not.
    pub(super) fn exactness(&self, name: Name<'_>) -> Option<Exactness> {
        match (self, name) {
            (Self::Uri(uri), Name::Uri(name)) => (uri == name).then_some(Exactness::Whole),
            (Self::UriBelow(prefix), Name::Uri(name)) => {
                let below = name.strip_prefix(prefix.as_str())?;
                (!below.is_empty()).then_some(Exactness::Part(prefix.len()))
            }
            (Self::Dns(host), Name::Dns(name)) => {
                host.eq_ignore_ascii_case(name).then_some(Exactness::Whole)
            }
            (Self::DnsBelow(domain), Name::Dns(name)) => {
                let (label, rest) = name.split_once('.')?;
                // A certificate for any host is nobody's name.
                let is_name = !label.is_empty() && label != "*";
                (is_name && domain.eq_ignore_ascii_case(rest))
                    .then_some(Exactness::Part(domain.len()))
            }
            (Self::Uri(_) | Self::UriBelow(_), Name::Dns(_))
            | (Self::Dns(_) | Self::DnsBelow(_), Name::Uri(_)) => None,
        }
    }
}

/// All URIs and DNS names of a certificate. `None`: they cannot be read.
pub(super) fn names<'a>(certificate: &'a X509Certificate<'_>) -> Option<Vec<Name<'a>>> {
    let Some(extension) = certificate.subject_alternative_name().ok()? else {
        return Some(Vec::new());
    };
    let names = extension.value.general_names.iter();
    let names = names.filter_map(|name| {
        if let GeneralName::URI(uri) = name {
            Some(Name::Uri(uri))
        } else if let GeneralName::DNSName(host) = name {
            Some(Name::Dns(host))
        } else {
            None
        }
    });
    Some(names.collect())
}

impl FromStr for NameRule {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let rule = match text.split_once(':') {
            Some(("uri", uri)) => of_uri(uri),
            Some(("dns", host)) => of_host(host),
            _ => None,
        };
        rule.ok_or_else(|| TlsError::NoNameRule(text.to_owned()))
    }
}

fn of_uri(uri: &str) -> Option<NameRule> {
    let (prefix, is_part) = match uri.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (uri, false),
    };
    let is_written = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*')
    };
    let (scheme, rest) = prefix.split_once(':')?;
    if scheme.is_empty() || rest.is_empty() || !is_written(prefix) {
        return None;
    }
    if !is_part {
        return Some(NameRule::Uri(uri.to_owned()));
    }
    // Behind a slash of the path: "spiffe://prod*" would be spiffe://production.example's as well.
    let path = rest.strip_prefix("//")?;
    let has_authority = path.find('/').is_some_and(|slash| slash > 0);
    (has_authority && prefix.ends_with('/')).then(|| NameRule::UriBelow(prefix.to_owned()))
}

fn of_host(host: &str) -> Option<NameRule> {
    let (domain, is_part) = match host.strip_prefix("*.") {
        Some(domain) => (domain, true),
        None => (host, false),
    };
    let is_label = |label: &str| {
        let is_written = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.bytes().all(is_written)
    };
    if !domain.split('.').all(is_label) {
        return None;
    }
    let domain = domain.to_ascii_lowercase();
    Some(if is_part {
        NameRule::DnsBelow(domain)
    } else {
        NameRule::Dns(domain)
    })
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::UriBelow(prefix) => write!(f, "uri:{prefix}*"),
            Self::Dns(host) => write!(f, "dns:{host}"),
            Self::DnsBelow(domain) => write!(f, "dns:*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_what_it_says_and_nothing_beside() {
        use Name::{Dns, Uri};
        let part = |length| Some(Exactness::Part(length));
        let whole = Some(Exactness::Whole);
        for (rule, name, expected) in [
            ("uri:spiffe://prod/ci", Uri("spiffe://prod/ci"), whole),
            ("uri:spiffe://prod/ci", Uri("spiffe://prod/CI"), None),
            ("uri:spiffe://prod/ci", Uri("spiffe://prod/ci/x"), None),
            ("uri:spiffe://prod/*", Uri("spiffe://prod/ci/x"), part(14)),
            ("uri:spiffe://prod/*", Uri("spiffe://prod/"), None),
            ("uri:spiffe://prod/*", Uri("spiffe://production/ci"), None),
            ("dns:ci.example", Dns("CI.example"), whole),
            ("dns:ci.example", Uri("ci.example"), None),
            ("dns:*.example", Dns("ci.example"), part(7)),
            ("dns:*.example", Dns("a.ci.example"), None),
            ("dns:*.example", Dns("example"), None),
            ("dns:*.example", Dns("*.example"), None),
            ("dns:*.example", Dns(".example"), None),
        ] {
            let rule: NameRule = rule.parse().unwrap();
            assert_eq!(rule.exactness(name), expected, "{rule} {name:?}");
        }
        assert!(Exactness::Whole > Exactness::Part(usize::MAX));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "",
            "ci",
            "uri:",
            "uri:x",
            "uri:spiffe://*",
            "uri:spiffe://prod*",
            "uri:spiffe://prod",
            "uri:spiffe:///*",
            "uri:a*b://c/",
            "uri:*",
            "uri:spiffe://prod/ci*",
            "dns:",
            "dns:*",
            "dns:a.*",
            "dns:*.*.a",
            "dns:a..b",
            "dns:a b",
            "email:a@b",
            "uri:spiffe://a/ b",
        ] {
            let parsed = bad.parse::<NameRule>();
            assert_eq!(
                parsed.is_err(),
                bad != "uri:spiffe://prod",
                "{bad}: {parsed:?}"
            );
        }
        for good in [
            "uri:spiffe://prod/ci",
            "uri:spiffe://prod/*",
            "dns:ci",
            "dns:*.example",
        ] {
            assert_eq!(good.parse::<NameRule>().unwrap().to_string(), good);
        }
    }
}
