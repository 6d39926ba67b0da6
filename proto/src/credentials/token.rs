//! The name of a key in a token: a PKCS#11 URI (RFC 7512), as far as prn takes it.
//!
//! `pkcs11:token=LABEL;object=LABEL?module-path=/…/lib.so&pin-source=file:/…/pin`

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest URI that is taken.
const LENGTH_MAX: usize = 4096;

/// Why a URI is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// It has not the form of one.
    #[error("not a PKCS#11 URI (pkcs11:token=…;object=…?module-path=…)")]
    Form,
    /// An attribute is there that means nothing here, or twice.
    #[error(
        "the PKCS#11 URI has {0:?}: token, serial, object, id and type=private are taken, and behind a question mark module-path and pin-source"
    )]
    Attribute(String),
    /// The PIN stands in it, where others see it.
    #[error(
        "the PKCS#11 URI has the PIN itself: write it to a file of mode 0600, and name that with pin-source=file:/PATH"
    )]
    PinValue,
    /// A path is none.
    #[error("the PKCS#11 URI's {0} must be an absolute path")]
    Path(&'static str),
    /// What says which key it is is missing.
    #[error("the PKCS#11 URI names no {0}")]
    Missing(&'static str),
}

/// Which key, in which token, reached by which module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUri {
    text: String,
    /// Label of the token.
    pub token: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Label of the key (CKA_LABEL).
    pub object: Option<String>,
    /// Its id (CKA_ID).
    pub id: Option<Vec<u8>>,
    /// The module: a shared library, which is loaded by the signer alone.
    pub module: PathBuf,
    pin_source: Option<PathBuf>,
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkcs11:{}", self.text)
    }
}

impl TokenUri {
    /// What follows `pkcs11:`.
    ///
    /// # Errors
    /// It is none, or has something that would not be looked at.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > LENGTH_MAX || text.contains(|letter: char| !letter.is_ascii_graphic()) {
            return Err(TokenError::Form);
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let mut uri = Self {
            text: text.to_owned(),
            token: None,
            serial: None,
            object: None,
            id: None,
            module: PathBuf::new(),
            pin_source: None,
        };
        for part in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = pair(part)?;
            let is_first = match name {
                "token" => uri.token.replace(plain(value)?).is_none(),
                "serial" => uri.serial.replace(plain(value)?).is_none(),
                "object" => uri.object.replace(plain(value)?).is_none(),
                "id" => uri.id.replace(value).is_none(),
                "type" => value == b"private",
                _ => false,
            };
            if !is_first {
                return Err(TokenError::Attribute(name.to_owned()));
            }
        }
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = pair(part)?;
            let is_first = match name {
                "module-path" => {
                    let before = std::mem::replace(&mut uri.module, absolute(name, &value)?);
                    before.as_os_str().is_empty()
                }
                "pin-source" => {
                    let path = value.strip_prefix(b"file:").unwrap_or(&value);
                    let path = path.strip_prefix(b"//").unwrap_or(path);
                    uri.pin_source.replace(absolute(name, path)?).is_none()
                }
                "pin-value" => return Err(TokenError::PinValue),
                _ => false,
            };
            if !is_first {
                return Err(TokenError::Attribute(name.to_owned()));
            }
        }
        uri.complete()
    }

    fn complete(self) -> Result<Self, TokenError> {
        if self.token.is_none() && self.serial.is_none() {
            Err(TokenError::Missing("token (token= or serial=)"))
        } else if self.object.is_none() && self.id.is_none() {
            Err(TokenError::Missing("key (object= or id=)"))
        } else if self.module.as_os_str().is_empty() {
            Err(TokenError::Missing("module (module-path=)"))
        } else {
            Ok(self)
        }
    }

    /// The file that the PIN is in: who starts the signer reads it.
    pub fn pin_source(&self) -> Option<&Path> {
        self.pin_source.as_deref()
    }
}

fn absolute(name: &str, value: &[u8]) -> Result<PathBuf, TokenError> {
    let what = if name == "module-path" {
        "module-path"
    } else {
        "pin-source"
    };
    let path = String::from_utf8(value.to_vec()).map(PathBuf::from);
    let path = path.ok().filter(|path| path.is_absolute());
    path.ok_or(TokenError::Path(what))
}

fn plain(value: Vec<u8>) -> Result<String, TokenError> {
    String::from_utf8(value).map_err(|_| TokenError::Form)
}

/// A name, and its value's bytes (RFC 3986, 2.1).
fn pair(part: &str) -> Result<(&str, Vec<u8>), TokenError> {
    let (name, value) = part.split_once('=').ok_or(TokenError::Form)?;
    let mut bytes = value.bytes();
    let mut decoded = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit(), digit());
            let byte = high.zip(low).map(|(high, low)| high * 16 + low);
            let byte = byte.and_then(|byte| u8::try_from(byte).ok());
            byte.ok_or(TokenError::Form)?
        } else {
            byte
        });
    }
    Ok((name, decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_which_key_by_which_module() {
        let text =
            "token=My%20token;object=k;id=%01%ff;type=private?module-path=/l.so&pin-source=file:/p";
        let uri = TokenUri::parse(text).unwrap();
        assert_eq!(uri.token.as_deref(), Some("My token"));
        assert_eq!(uri.object.as_deref(), Some("k"));
        assert_eq!(uri.id.as_deref(), Some(&[1, 255][..]));
        assert_eq!(uri.module, Path::new("/l.so"));
        assert_eq!(uri.pin_source(), Some(Path::new("/p")));
        assert_eq!(uri.to_string(), format!("pkcs11:{text}"));
        let plain = TokenUri::parse("serial=1;id=a?module-path=/l.so&pin-source=/p").unwrap();
        assert_eq!(plain.pin_source(), Some(Path::new("/p")));
    }

    #[test]
    fn what_would_not_be_looked_at_is_refused() {
        use TokenError::{Attribute, Form, Missing, Path, PinValue};
        let end = "object=k?module-path=/l";
        for (text, error) in [
            (end.to_owned(), Missing("token (token= or serial=)")),
            (
                "token=t?module-path=/l".to_owned(),
                Missing("key (object= or id=)"),
            ),
            (
                "token=t;object=k".to_owned(),
                Missing("module (module-path=)"),
            ),
            (format!("token=t;token=u;{end}"), Attribute("token".into())),
            (format!("token=t;type=cert;{end}"), Attribute("type".into())),
            (
                format!("token=t;slot-id=1;{end}"),
                Attribute("slot-id".into()),
            ),
            (
                format!("token=t;{end}&module-name=x"),
                Attribute("module-name".into()),
            ),
            (format!("token=t;{end}&pin-value=1234"), PinValue),
            (format!("token=t;{end}&pin-source=|cat"), Path("pin-source")),
            (
                "token=t;object=k?module-path=l.so".to_owned(),
                Path("module-path"),
            ),
            (format!("token=%4;{end}"), Form),
            (format!("token=%zz;{end}"), Form),
            (format!("token=%ff;{end}"), Form),
            (format!("token=a b;{end}"), Form),
            (format!("token=t;{end}{}", "x".repeat(LENGTH_MAX)), Form),
        ] {
            assert_eq!(TokenUri::parse(&text), Err(error), "{text}");
        }
    }
}
