//! What is wrong with a request, by field.

/// A field of a request that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidField {
    /// Its path in the request message.
    pub field: String,
    /// What it must be.
    pub why: String,
}

/// All fields of a request that were not taken: a client mends them in one go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<InvalidField>);

impl InvalidField {
    /// What a field must be.
    pub fn new(field: impl Into<String>, why: impl ToString) -> Self {
        Self {
            field: field.into(),
            why: why.to_string(),
        }
    }
}

impl Violations {
    /// The value of a part of the request, or `None` once its fault is noted.
    pub fn check<T>(&mut self, part: Result<T, InvalidField>) -> Option<T> {
        part.map_err(|invalid| self.0.push(invalid)).ok()
    }

    /// These as well.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// They, in the order in which they were found.
    pub fn fields(&self) -> impl Iterator<Item = &InvalidField> {
        self.0.iter()
    }
}

impl From<InvalidField> for Violations {
    fn from(invalid: InvalidField) -> Self {
        Self(vec![invalid])
    }
}
