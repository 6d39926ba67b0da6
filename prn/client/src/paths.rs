//! How a process sees directories.

use prn_proto::v1::{self, path_rule::Kind};

/// How a process sees a directory of the server's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case", tag = "kind")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PathRule {
    /// Nothing in it can be changed.
    ReadOnly {
        /// Its path.
        path: String,
    },
    /// It is empty.
    Hidden {
        /// Its path.
        path: String,
    },
    /// It is another one.
    Bound {
        /// Its path.
        path: String,
        /// Path of the other one.
        source: String,
    },
}

impl PathRule {
    /// `None`: of a kind that this client does not know.
    pub(crate) fn from_wire(raw: v1::PathRule) -> Option<Self> {
        let kind = raw.kind();
        let v1::PathRule { path, source, .. } = raw;
        match kind {
            Kind::ReadOnly => Some(Self::ReadOnly { path }),
            Kind::Hidden => Some(Self::Hidden { path }),
            Kind::Bound => Some(Self::Bound { path, source }),
            Kind::Unspecified => None,
        }
    }
}

impl From<PathRule> for v1::PathRule {
    fn from(rule: PathRule) -> Self {
        let (kind, path, source) = match rule {
            PathRule::ReadOnly { path } => (Kind::ReadOnly, path, String::new()),
            PathRule::Hidden { path } => (Kind::Hidden, path, String::new()),
            PathRule::Bound { path, source } => (Kind::Bound, path, source),
        };
        Self {
            kind: kind.into(),
            path,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_comes_back_from_the_wire_and_a_strange_one_is_none() {
        let path = "/a".to_owned();
        for rule in [
            PathRule::ReadOnly { path: path.clone() },
            PathRule::Hidden { path: path.clone() },
            PathRule::Bound {
                source: "/b".to_owned(),
                path,
            },
        ] {
            let raw = v1::PathRule::from(rule.clone());
            assert_eq!(PathRule::from_wire(raw), Some(rule));
        }
        assert_eq!(PathRule::from_wire(v1::PathRule::default()), None);
    }
}
