//! A server in one line of text, to be pasted: its address and its certificate, and no secret.
//!
//! The line is `prn1:` and then base64url without padding (RFC 4648, section 5) of
//!
//! | bytes | what |
//! |---|---|
//! | 2 | how long the address is, big endian |
//! | so many | the address, HOST:PORT, UTF-8 |
//! | all but the last 4 | the server's certificate, DER |
//! | 4 | the first ones of SHA-256 of `prn1:` and all bytes before |
//!
//! Of a server that is known by several, while one follows another, it is `prn2:`, and each
//! certificate has its length before it, as the address has.
//!
//! The checksum is for what mail and terminals do to a long line. Whoever can choose the line
//! chooses the server: take it by a way that you trust. Pure.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prn_proto::tls::{Certificate, TlsError};
use prn_proto::units::Address;
use ring::digest::{SHA256, digest};

/// What such a line begins with, of a server with one certificate. The number is that of the form.
const ONE: &str = "prn1:";

/// The same of a server with several.
const SEVERAL: &str = "prn2:";

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// Why a line is none.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is of another form.
    #[error(
        "not a line of a server: it begins with {ONE} or {SEVERAL} and has no blank in it; `prn context show --line` prints one"
    )]
    Form,
    /// It is of a later version.
    #[error("the line is of a newer prn: this one knows those that begin with {ONE} or {SEVERAL}")]
    Newer,
    /// Its checksum is another one.
    #[error("the line was cut or changed on its way: copy it again, as a whole")]
    Damaged,
    /// What is in it is no certificate.
    #[error("the certificate in the line is refused")]
    Certificate(#[source] TlsError),
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLine {
    /// Where it listens.
    pub address: Address,
    /// What it is known by: at least one.
    pub certificates: Vec<Certificate>,
}

/// Whether a text is meant to be such a line, of this form or of another one.
pub fn is_line(text: &str) -> bool {
    text.strip_prefix("prn")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(number, _)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

impl fmt::Display for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = with_length(self.address.0.as_bytes())?;
        let prefix = if let [only] = self.certificates.as_slice() {
            bytes.extend_from_slice(only.der());
            ONE
        } else {
            for certificate in &self.certificates {
                bytes.extend(with_length(certificate.der())?);
            }
            SEVERAL
        };
        bytes.extend(checksum(prefix, &bytes));
        write!(f, "{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn with_length(bytes: &[u8]) -> Result<Vec<u8>, fmt::Error> {
    let length = u16::try_from(bytes.len()).map_err(|_| fmt::Error)?;
    Ok([&length.to_be_bytes(), bytes].concat())
}

/// What has its length before it, and the rest.
fn split_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Certificates, each with its length before it.
fn several(mut rest: &[u8]) -> Result<Vec<&[u8]>, LineError> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (certificate, further) = split_length(rest).ok_or(LineError::Form)?;
        found.push(certificate);
        rest = further;
    }
    if found.is_empty() {
        return Err(LineError::Form);
    }
    Ok(found)
}

impl FromStr for ServerLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let text = text.trim();
        let of = |prefix: &'static str| Some((prefix, text.strip_prefix(prefix)?));
        let Some((prefix, payload)) = of(ONE).or_else(|| of(SEVERAL)) else {
            return Err(if is_line(text) {
                LineError::Newer
            } else {
                LineError::Form
            });
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| LineError::Damaged)?;
        let (bytes, sum) = bytes.split_last_chunk().ok_or(LineError::Damaged)?;
        if *sum != checksum(prefix, bytes) {
            return Err(LineError::Damaged);
        }
        let (address, rest) = split_length(bytes).ok_or(LineError::Form)?;
        let address = std::str::from_utf8(address).map_err(|_| LineError::Form)?;
        let certificates = if prefix == ONE {
            vec![rest]
        } else {
            several(rest)?
        };
        let certificates = certificates
            .into_iter()
            .map(|der| Certificate::from_der(der.to_vec()).map_err(LineError::Certificate));
        Ok(Self {
            address: address.parse().map_err(|_| LineError::Form)?,
            certificates: certificates.collect::<Result<_, _>>()?,
        })
    }
}

fn checksum(prefix: &str, bytes: &[u8]) -> [u8; CHECKSUM] {
    let sum = digest(&SHA256, &[prefix.as_bytes(), bytes].concat());
    sum.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerLine {
        with(1)
    }

    fn with(count: usize) -> ServerLine {
        let certificate = |_| {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
            let params = rcgen::CertificateParams::new(vec!["web1".to_owned()]).unwrap();
            let der = params.self_signed(&key).unwrap().der().to_vec();
            Certificate::from_der(der).unwrap()
        };
        ServerLine {
            address: "web1.example:50051".parse().unwrap(),
            certificates: (0..count).map(certificate).collect(),
        }
    }

    #[test]
    fn a_line_says_again_what_it_was_made_of_and_survives_a_paste() {
        let server = server();
        let line = server.to_string();
        assert!(is_line(&line) && !line.contains(char::is_whitespace));
        assert!(line.len() < 1000, "{}", line.len());
        let pasted: ServerLine = format!("  {line}\r\n").parse().unwrap();
        assert_eq!(pasted, server);
    }

    #[test]
    fn a_line_has_room_for_the_next_certificate_of_a_server() {
        assert!(server().to_string().starts_with("prn1:"));
        for count in [2, 3] {
            let server = with(count);
            let line = server.to_string();
            assert!(line.starts_with("prn2:") && is_line(&line), "{line}");
            assert_eq!(line.parse::<ServerLine>().unwrap(), server);
            let cut = line[..line.len() - 1].parse::<ServerLine>();
            assert!(matches!(cut, Err(LineError::Damaged)));
        }
        // The one form is not taken for the other.
        let other = server().to_string().replace("prn1:", "prn2:");
        assert!(matches!(
            other.parse::<ServerLine>(),
            Err(LineError::Damaged)
        ));
    }

    #[test]
    fn a_line_that_was_cut_or_changed_is_refused() {
        let line = server().to_string();
        let refused = |text: &str| text.parse::<ServerLine>().unwrap_err();
        for length in [5, 9, 40, line.len() - 1] {
            let cut = refused(&line[..length]);
            assert!(matches!(cut, LineError::Damaged), "{length}: {cut}");
        }
        for place in [6, 60, line.len() - 1] {
            let other = if &line[place..=place] == "A" {
                "B"
            } else {
                "A"
            };
            let changed = format!("{}{other}{}", &line[..place], &line[place + 1..]);
            assert!(
                matches!(refused(&changed), LineError::Damaged),
                "{place}: {changed}"
            );
        }
        assert!(matches!(
            refused(&line.replace("prn1:", "prn3:")),
            LineError::Newer
        ));
        assert!(matches!(refused("web1:50051"), LineError::Form));
        assert!(!is_line("prn:x") && !is_line("prnx:1") && is_line("prn12:x"));
    }

    #[test]
    fn what_is_in_a_whole_line_must_be_a_server() {
        let of = |prefix: &str, bytes: &[u8]| {
            let bytes = [bytes, &checksum(prefix, bytes)].concat();
            format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)).parse::<ServerLine>()
        };
        let with = |bytes: &[u8]| of(ONE, bytes);
        for short in [&b"\0\x03a:1"[..], b"\0\x03a:1\0", b"\0\x03a:1\0\x02x"] {
            assert!(matches!(of(SEVERAL, short), Err(LineError::Form)));
        }
        let rubbish = of(SEVERAL, b"\0\x03a:1\0\x01x");
        assert!(matches!(rubbish, Err(LineError::Certificate(_))));
        assert!(matches!(with(b""), Err(LineError::Form)));
        assert!(matches!(with(b"\0\x09a:1"), Err(LineError::Form)));
        assert!(matches!(with(b"\0\x03a:1"), Err(LineError::Certificate(_))));
        assert!(matches!(with(b"\0\x01ax"), Err(LineError::Form)));
    }
}
