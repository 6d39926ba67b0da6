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
//! The checksum is for what mail and terminals do to a long line. Whoever can choose the line
//! chooses the server: take it by a way that you trust. Pure.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prn_proto::tls::{Certificate, TlsError};
use prn_proto::units::Address;
use ring::digest::{SHA256, digest};

/// What such a line begins with. The number is that of the form.
const PREFIX: &str = "prn1:";

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// Why a line is none.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is of another form.
    #[error(
        "not a line of a server: it begins with {PREFIX} and has no blank in it; `prn context show --line` prints one"
    )]
    Form,
    /// It is of a later version.
    #[error("the line is of a newer prn: this one knows those that begin with {PREFIX}")]
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
    /// Its certificate.
    pub certificate: Certificate,
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
        let address = self.address.0.as_bytes();
        let length = u16::try_from(address.len()).map_err(|_| fmt::Error)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(address);
        bytes.extend_from_slice(self.certificate.der());
        bytes.extend(checksum(&bytes));
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ServerLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let text = text.trim();
        let Some(payload) = text.strip_prefix(PREFIX) else {
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
        if *sum != checksum(bytes) {
            return Err(LineError::Damaged);
        }
        let (length, rest) = bytes.split_first_chunk().ok_or(LineError::Form)?;
        let (address, certificate) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or(LineError::Form)?;
        let address = std::str::from_utf8(address).map_err(|_| LineError::Form)?;
        Ok(Self {
            address: address.parse().map_err(|_| LineError::Form)?,
            certificate: Certificate::from_der(certificate.to_vec())
                .map_err(LineError::Certificate)?,
        })
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let sum = digest(&SHA256, &[PREFIX.as_bytes(), bytes].concat());
    sum.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerLine {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = rcgen::CertificateParams::new(vec!["web1".to_owned()]).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        ServerLine {
            address: "web1.example:50051".parse().unwrap(),
            certificate: Certificate::from_der(der).unwrap(),
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
            refused(&line.replace("prn1:", "prn2:")),
            LineError::Newer
        ));
        assert!(matches!(refused("web1:50051"), LineError::Form));
        assert!(!is_line("prn:x") && !is_line("prnx:1") && is_line("prn12:x"));
    }

    #[test]
    fn what_is_in_a_whole_line_must_be_a_server() {
        let with = |bytes: &[u8]| {
            let bytes = [bytes, &checksum(bytes)].concat();
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).parse::<ServerLine>()
        };
        assert!(matches!(with(b""), Err(LineError::Form)));
        assert!(matches!(with(b"\0\x09a:1"), Err(LineError::Form)));
        assert!(matches!(with(b"\0\x03a:1"), Err(LineError::Certificate(_))));
        assert!(matches!(with(b"\0\x01ax"), Err(LineError::Form)));
    }
}
