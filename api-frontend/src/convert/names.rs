//! What people call processes, and tell them apart by; and who those people are.

use std::collections::BTreeMap;

use prn_ipc_protocol::types::{
    AccessName, LABEL_KEY_MAX, LABEL_VALUE_MAX, LABELS_MAX, Labels, PROCESS_NAME_MAX, ProcessName,
};

use crate::convert::fields::InvalidField;

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

/// Labels, which all requests have in the field `labels`.
pub fn labels(raw: BTreeMap<String, String>) -> Result<Labels, InvalidField> {
    Labels::try_from(raw).map_err(|_| {
        InvalidField::new(
            "labels",
            format!(
                "must be at most {LABELS_MAX}: a key of 1 to {LABEL_KEY_MAX} letters, digits, \"-\", \"_\", \".\" and \
                 \"/\", first a letter or a digit, and a value of up to {LABEL_VALUE_MAX} bytes without control \
                 characters"
            ),
        )
    })
}

/// A principal as the API shows it; nobody is empty.
pub fn who(principal: Option<&AccessName>) -> String {
    principal.map_or_else(String::new, AccessName::to_string)
}

/// Labels as the API shows them.
pub fn shown(labels: &Labels) -> BTreeMap<String, String> {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    labels.iter().map(owned).collect()
}
