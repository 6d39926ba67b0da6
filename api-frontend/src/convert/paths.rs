//! How a process sees directories, as Start asks for it and as a status repeats it.

use std::ffi::{CStr, CString};

use prn_ipc_protocol::types::{PATHS_BYTES_MAX, PATHS_MAX, PathRule, Paths, READ_ONLY_MAX};
use prn_proto::v1;
use prn_proto::v1::path_rule::Kind;

use crate::convert::fields::{InvalidField, Violations};

/// Most bytes in a path, its NUL not counted (PATH_MAX, limits.h).
pub const PATH_MAX: usize = 4095;

/// What Start asks for; each rule that is not one is noted.
pub fn paths(raw: Vec<v1::PathRule>, violations: &mut Violations) -> Option<Paths> {
    if raw.len() > PATHS_MAX {
        let why = format!("must be {PATHS_MAX} rules at most");
        return violations.check(Err(InvalidField::new("paths", why)));
    }
    let read_only = raw.iter().filter(|rule| rule.kind() == Kind::ReadOnly);
    if read_only.count() > READ_ONLY_MAX {
        let why = format!("must be {READ_ONLY_MAX} read-only ones at most");
        return violations.check(Err(InvalidField::new("paths", why)));
    }
    let mut rules = Vec::new();
    let count = raw.len();
    for (place, raw) in raw.into_iter().enumerate() {
        rules.extend(violations.check(rule(raw, &format!("paths[{place}]"))));
    }
    if rules.len() < count {
        return None;
    }
    let why = format!("must not exceed {PATHS_BYTES_MAX} bytes together");
    violations.check(Paths::try_from(rules).map_err(|_| InvalidField::new("paths", why)))
}

fn rule(raw: v1::PathRule, field: &str) -> Result<PathRule, InvalidField> {
    let target = path(&raw.path, format!("{field}.path"))?;
    let source = format!("{field}.source");
    let kind = raw.kind();
    if !raw.source.is_empty() && matches!(kind, Kind::ReadOnly | Kind::Hidden) {
        return Err(InvalidField::new(source, "is of use with BOUND alone"));
    }
    // Programs would go on seeing what is there: a process's root is what was mounted first.
    if target.as_c_str() == c"/" && matches!(kind, Kind::Hidden | Kind::Bound) {
        let why = "nothing can be shown in place of the root directory";
        return Err(InvalidField::new(format!("{field}.path"), why));
    }
    match kind {
        Kind::ReadOnly => Ok(PathRule::ReadOnly(target)),
        Kind::Hidden => Ok(PathRule::Hidden(target)),
        Kind::Bound => Ok(PathRule::Bound {
            source: path(&raw.source, source)?,
            target,
        }),
        Kind::Unspecified => {
            let why = "must be READ_ONLY, HIDDEN or BOUND";
            Err(InvalidField::new(format!("{field}.kind"), why))
        }
    }
}

/// A slash at the end says nothing: it is a directory in any case.
fn path(raw: &str, field: String) -> Result<CString, InvalidField> {
    if !raw.starts_with('/') || raw.len() > PATH_MAX {
        let why = format!("must be an absolute path of at most {PATH_MAX} bytes");
        return Err(InvalidField::new(field, why));
    }
    let short = match raw.trim_end_matches('/') {
        "" => "/",
        short => short,
    };
    CString::new(short).map_err(|_| InvalidField::new(field, "must not hold a NUL byte"))
}

/// As a status repeats it.
pub fn shown(paths: &Paths) -> Vec<v1::PathRule> {
    paths.as_slice().iter().map(shown_rule).collect()
}

fn shown_rule(rule: &PathRule) -> v1::PathRule {
    // What a client sends is UTF-8.
    let text = |path: &CStr| path.to_string_lossy().into_owned();
    let (kind, source) = match rule {
        PathRule::ReadOnly(_) => (Kind::ReadOnly, String::new()),
        PathRule::Hidden(_) => (Kind::Hidden, String::new()),
        PathRule::Bound { source, .. } => (Kind::Bound, text(source)),
    };
    v1::PathRule {
        kind: kind.into(),
        path: text(rule.target()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(kind: Kind, path: &str, source: &str) -> v1::PathRule {
        v1::PathRule {
            kind: kind.into(),
            path: path.to_owned(),
            source: source.to_owned(),
        }
    }

    fn refused(raw: Vec<v1::PathRule>) -> Vec<String> {
        let mut violations = Violations::default();
        assert_eq!(paths(raw, &mut violations), None);
        let fields = violations.fields().map(|invalid| invalid.field.clone());
        fields.collect()
    }

    #[test]
    fn rules_keep_their_order_and_come_back_in_a_status() {
        let asked = vec![
            raw(Kind::Bound, "/data", "/srv/data"),
            raw(Kind::ReadOnly, "/data/old", ""),
            raw(Kind::Hidden, "/etc/ssl", ""),
        ];
        let taken = paths(asked.clone(), &mut Violations::default()).unwrap();
        assert_eq!(shown(&taken), asked);
    }

    #[test]
    fn a_slash_at_the_end_of_a_path_makes_no_difference() {
        let asked = vec![raw(Kind::Hidden, "/a//", ""), raw(Kind::ReadOnly, "//", "")];
        let taken = paths(asked, &mut Violations::default()).unwrap();
        let expected = [
            PathRule::Hidden(c"/a".into()),
            PathRule::ReadOnly(c"/".into()),
        ];
        assert_eq!(taken.as_slice(), expected);
    }

    #[test]
    fn each_rule_that_is_none_is_named() {
        let long = format!("/{}", "x".repeat(PATH_MAX));
        let wrong = vec![
            raw(Kind::Hidden, "etc", ""),
            raw(Kind::Bound, "/a", "srv"),
            raw(Kind::Bound, "/a", ""),
            raw(Kind::Unspecified, "/a", ""),
            raw(Kind::ReadOnly, "/a", "/b"),
            raw(Kind::ReadOnly, &long, ""),
            raw(Kind::ReadOnly, "/a\0", ""),
            raw(Kind::Hidden, "//", ""),
            v1::PathRule {
                kind: 9,
                ..raw(Kind::Hidden, "/a", "")
            },
        ];
        let named = [
            "paths[0].path",
            "paths[1].source",
            "paths[2].source",
            "paths[3].kind",
            "paths[4].source",
            "paths[5].path",
            "paths[6].path",
            "paths[7].path",
            "paths[8].kind",
        ];
        assert_eq!(refused(wrong), named);
    }

    #[test]
    fn there_are_no_more_and_no_longer_rules_than_a_message_has_room_for() {
        let hidden = raw(Kind::Hidden, "/a", "");
        let most = vec![hidden.clone(); PATHS_MAX];
        assert!(paths(most, &mut Violations::default()).is_some());
        assert_eq!(refused(vec![hidden; PATHS_MAX + 1]), ["paths"]);
        let read_only = raw(Kind::ReadOnly, "/a", "");
        assert_eq!(refused(vec![read_only; READ_ONLY_MAX + 1]), ["paths"]);
        let long = format!("/{}", "x".repeat(PATH_MAX - 1));
        assert_eq!(refused(vec![raw(Kind::Hidden, &long, ""); 5]), ["paths"]);
    }
}
