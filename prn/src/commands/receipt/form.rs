//! The form of what is signed: fields, each under its name and with its length before it
//! (docs/digest.md).

use std::time::{Duration, UNIX_EPOCH};

use prn_proto::units::show_moment;

/// A field.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub at: usize,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Nothing,
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

impl Field {
    /// The bytes that its lower-case hexadecimal digits stand for.
    pub fn digits(&self) -> Option<Vec<u8>> {
        match &self.value {
            Value::Text(text) => bytes(std::str::from_utf8(text).ok()?),
            Value::Nothing | Value::List(_) => None,
        }
    }

    /// For people.
    pub fn words(&self) -> String {
        self.moment().unwrap_or_else(|| self.value_words())
    }

    /// For programs, as it stands there: `null`, a text, or an object of texts by their names.
    pub fn json(&self) -> serde_json::Value {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        match &self.value {
            Value::Nothing => serde_json::Value::Null,
            Value::Text(bytes) => text(bytes).into(),
            Value::List(items) => {
                let pairs = items.chunks(2).filter_map(|pair| {
                    let [name, value] = pair else { return None };
                    Some((text(name), text(value).into()))
                });
                serde_json::Value::Object(pairs.collect())
            }
        }
    }

    /// When something was, as RFC 3339 has it; `None` if that is not what it says.
    fn moment(&self) -> Option<String> {
        let Value::Text(text) = &self.value else {
            return None;
        };
        if self.name != "started" && self.name != "ended" {
            return None;
        }
        let micros = std::str::from_utf8(text).ok()?.parse().ok()?;
        show_moment(UNIX_EPOCH.checked_add(Duration::from_micros(micros))?)
    }

    fn value_words(&self) -> String {
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .trim_end()
                .replace('\n', ", ")
        };
        match &self.value {
            Value::Nothing => "none".to_owned(),
            Value::Text(bytes) => text(bytes),
            Value::List(items) => {
                let pairs = items.chunks(2).map(|pair| {
                    let words: Vec<String> = pair.iter().map(|item| text(item)).collect();
                    words.join(" ")
                });
                pairs.collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// The bytes of pairs of lower-case hexadecimal digits.
pub fn bytes(digits: &str) -> Option<Vec<u8>> {
    let is_lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if !digits.len().is_multiple_of(2) || !digits.as_bytes().iter().all(is_lower) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// All fields of a receipt. `None`: it is none.
pub fn parse(text: &[u8]) -> Option<Vec<Field>> {
    // The first form has no `user`.
    let forms = [&b"prn-receipt-2\n"[..], b"prn-receipt-1\n"];
    let mut rest = forms.iter().find_map(|form| text.strip_prefix(*form))?;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let name = std::str::from_utf8(rest.get(..end)?).ok()?.to_owned();
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        rest = rest.get(end + 1..)?;
        let value = match rest.first()? {
            b'-' => {
                rest = rest.strip_prefix(b"-\n")?;
                Value::Nothing
            }
            b'*' => {
                let count = number(&mut rest, b'*', b'\n')?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(netstring(&mut rest)?);
                }
                Value::List(items)
            }
            _ => Value::Text(netstring(&mut rest)?),
        };
        fields.push(Field { name, at, value });
    }
    Some(fields)
}

/// A number after a byte, if there is to be one, up to another.
fn number(rest: &mut &[u8], before: u8, after: u8) -> Option<usize> {
    let text = rest.strip_prefix(&[before]).unwrap_or(rest);
    let end = text.iter().position(|byte| *byte == after)?;
    let digits = std::str::from_utf8(text.get(..end)?).ok()?;
    // No other spelling of the same.
    let value: usize = digits.parse().ok()?;
    *rest = text.get(end + 1..)?;
    (value.to_string() == digits).then_some(value)
}

fn netstring(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = number(rest, b':', b':')?;
    let value = rest.get(..length)?.to_vec();
    *rest = rest.get(length..)?.strip_prefix(b"\n")?;
    Some(value)
}
