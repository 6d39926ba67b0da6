//! What people call processes, and tell them apart by; and who those people are.

use std::collections::BTreeMap;

use prn_ipc_protocol::types::{
    AccessName, LABEL_KEY_MAX, LABEL_VALUE_MAX, LABELS_MAX, LabelChanges, Labels, PROCESS_NAME_MAX,
    ProcessName, USER_NAME_MAX, UserName,
};

use crate::convert::fields::{InvalidField, Violations};

/// The name that a process is to have. `None`: none.
pub fn of_start(raw: String) -> Result<Option<ProcessName>, InvalidField> {
    if raw.is_empty() {
        return Ok(None);
    }
    match ProcessName::try_from(raw) {
        Ok(name) => Ok(Some(name)),
        Err(_) => Err(InvalidField::new(
            "name",
            format!(
                "must be 1 to {PROCESS_NAME_MAX} letters, digits, \"-\", \"_\" and \".\", first a letter or a digit, \
                 and nothing that an id looks like (32 hexadecimal digits)"
            ),
        )),
    }
}

/// The user of the machine's that a process is to run as. `None`: one of its own.
pub fn user(raw: String) -> Result<Option<UserName>, InvalidField> {
    if raw.is_empty() {
        return Ok(None);
    }
    match UserName::try_from(raw) {
        Ok(name) => Ok(Some(name)),
        Err(_) => Err(InvalidField::new(
            "user",
            format!(
                "must be the name of a user of the server's machine: 1 to {USER_NAME_MAX} letters, digits, \"-\", \
                 \"_\", \".\" and \"@\", first a letter, a digit or \"_\", and no number alone"
            ),
        )),
    }
}

/// A user as the API shows it; none is empty.
pub fn shown_user(user: Option<&UserName>) -> String {
    user.map_or_else(String::new, UserName::to_string)
}

/// Labels of a request's field.
pub fn labels(raw: BTreeMap<String, String>, field: &str) -> Result<Labels, InvalidField> {
    Labels::try_from(raw).map_err(|_| {
        let why = format!(
            "must be at most {LABELS_MAX}: a key of {}, and a value of up to {LABEL_VALUE_MAX} bytes without control \
             characters",
            key_rule()
        );
        InvalidField::new(field, why)
    })
}

/// A principal as the API shows it; nobody is empty.
pub fn who(principal: Option<&AccessName>) -> String {
    principal.map_or_else(String::new, AccessName::to_string)
}

fn key_rule() -> String {
    format!(
        "1 to {LABEL_KEY_MAX} letters, digits, \"-\", \"_\", \".\" and \"/\", first a letter or a digit"
    )
}

/// What becomes of some labels: they have these values, or are no more.
pub fn label_changes(
    set: BTreeMap<String, String>,
    unset: Vec<String>,
    violations: &mut Violations,
) -> Option<LabelChanges> {
    let set = violations.check(labels(set, "set_labels"));
    let keys = unset.into_iter().map(|key| (key, String::new()));
    let unset = Labels::try_from(keys.collect::<BTreeMap<_, _>>()).map_err(|_| {
        let why = format!("must be at most {LABELS_MAX} keys, each of {}", key_rule());
        InvalidField::new("unset_labels", why)
    });
    let (unset, set) = (violations.check(unset)?, set?);
    if let Some((key, _)) = unset.iter().find(|(key, _)| set.get(key).is_some()) {
        let why = format!("must not have {key:?}, which set_labels has");
        return violations.check(Err(InvalidField::new("unset_labels", why)));
    }
    let removed = unset.iter().map(|(key, _)| (key.to_owned(), None));
    let new = set
        .iter()
        .map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    let changes = LabelChanges::try_from(removed.chain(new).collect::<BTreeMap<_, _>>());
    violations.check(changes.map_err(|_| {
        let why = format!("must be at most {LABELS_MAX}, with those of unset_labels");
        InvalidField::new("set_labels", why)
    }))
}

/// Labels as the API shows them.
pub fn shown(labels: &Labels) -> BTreeMap<String, String> {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    labels.iter().map(owned).collect()
}
