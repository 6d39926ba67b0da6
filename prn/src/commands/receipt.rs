//! `prn receipt` and `prn verify`: what became of a process, signed by the root half of its server.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use prn_client::ClientError;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::commands::receipt::form::Field;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::input::file;
use crate::output::format::FormatFlag;
use crate::output::{self, ReceiptField};
use crate::which::connection::{Connection, Remote};
use crate::which::reference::{Reference, resolve};

mod form;

/// Print the receipt of a process that has ended
///
/// It says what was started, for whom, under which limits, and what became of it, and is signed by
/// the server's root half. Keep it in a file: `prn verify FILE` checks it, also when the server is
/// gone.
#[derive(Debug, Args)]
pub struct Receipt {
    /// Which process: its id, the beginning of its id, or its name
    #[arg(value_name = "ID")]
    pub process: Reference,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Check a receipt and show what it says
///
/// Exits 0 if the signature is that of the key in it, else 1. Whose key that is, --key decides: the
/// first line of the server's audit has it (receipt_key), and each run of a server has another one.
/// --server asks the server that runs, whose network half answers.
#[derive(Debug, Args)]
pub struct Verify {
    /// The file that `prn receipt` was written to; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The server's public key (64 hexadecimal digits), which it has to be
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub key: Option<PublicKey>,
    /// It has to be the key of the server, which is asked for it
    #[arg(long, conflicts_with = "key")]
    pub server: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// A server's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

fn parse_key(text: &str) -> Result<PublicKey, &'static str> {
    form::bytes(&text.to_ascii_lowercase())
        .filter(|key| key.len() == 32)
        .map(PublicKey)
        .ok_or(
            "not a public key: write its 64 hexadecimal digits (receipt_key in the server's audit)",
        )
}

/// What the signature is called in a file. What comes before it is signed.
const SIGNATURE: &str = "signature";

pub async fn receipt(args: Receipt) -> Result<Exit, Failure> {
    let client = Remote::new(args.connection)?.connect().await?;
    let id = resolve(&client, &args.process).await?;
    let receipt = client.receipt(id).await?;
    let digits: String = receipt
        .signature
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let body = String::from_utf8(receipt.body)
        .map_err(|_| ClientError::Protocol("the server sent a receipt that is no text"))?;
    let line = format!("{body}{SIGNATURE} {}:{digits}", digits.len());
    output::print_line(&line).map_err(Failure::Print)?;
    Ok(exit::OK)
}

/// More bytes than any receipt has.
const TEXT_MAX: u64 = 1 << 20;

/// The key of the server that runs.
async fn asked(connection: Connection) -> Result<PublicKey, Failure> {
    let client = Remote::new(connection)?.connect().await?;
    let key = client.server().await?.receipt_key;
    let key = key.and_then(|key| parse_key(&key).ok());
    key.ok_or_else(|| {
        Failure::Usage(
            "the server does not tell its key: give the one of its audit by --key".to_owned(),
        )
    })
}

/// Checks a file.
pub async fn verify(args: Verify) -> Result<Exit, Failure> {
    let key = match args.server {
        true => Some(asked(args.connection).await?),
        false => args.key,
    };
    let mut text = Vec::new();
    let read = file::open(&args.file).and_then(|file| file.take(TEXT_MAX).read_to_end(&mut text));
    read.map_err(|source| Failure::Unread {
        path: args.file.clone(),
        source,
    })?;
    match checked(&text, key.as_ref()) {
        Ok(fields) => {
            output::receipt(&fields, &args.format).map_err(Failure::Print)?;
            if key.is_none() {
                output::notice(
                    "whose key it is was not checked: compare `key` with receipt_key in the server's audit, or give it by --key, or ask the server with --server",
                );
            }
            Ok(exit::OK)
        }
        Err(why) => {
            output::notice(&format!("{}: {why}", args.file.display()));
            Ok(exit::ERROR)
        }
    }
}

/// What a receipt says, each name with its words, if it is what the key has signed.
fn checked(text: &[u8], key: Option<&PublicKey>) -> Result<Vec<ReceiptField>, &'static str> {
    const MALFORMED: &str = "it is no receipt: name a file that `prn receipt` was written to";
    let fields = form::parse(text).ok_or(MALFORMED)?;
    let (signature, said) = fields.split_last().ok_or(MALFORMED)?;
    if signature.name != SIGNATURE {
        return Err(MALFORMED);
    }
    let body = text.get(..signature.at).ok_or(MALFORMED)?;
    let own = said.iter().find(|field| field.name == "key");
    let own = own.and_then(Field::digits).ok_or(MALFORMED)?;
    let signature = signature.digits().ok_or(MALFORMED)?;
    let verified = UnparsedPublicKey::new(&ED25519, &own).verify(body, &signature);
    if verified.is_err() {
        return Err("the signature is not of what it says: it was altered");
    }
    if key.is_some_and(|key| key.0 != own) {
        return Err("it is signed with another key");
    }
    let shown = said.iter().map(|field| ReceiptField {
        name: field.name.clone(),
        words: field.words(),
        value: field.json(),
    });
    Ok(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn signed() -> (PublicKey, Vec<u8>) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = hex(pair.public_key().as_ref());
        let body = format!("prn-receipt-1\nkey 64:{key}\ncause -\nlimits *2\n1:a\n2:b\n\n");
        let signature = hex(pair.sign(body.as_bytes()).as_ref());
        let text = format!("{body}signature 128:{signature}\n");
        (parse_key(&key.to_uppercase()).unwrap(), text.into_bytes())
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        let long = "0".repeat(66);
        for wrong in ["", "00", &long[..63], &long, &"g".repeat(64)] {
            assert!(parse_key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_shown_as_dates() {
        let text = b"prn-receipt-1\nstarted 16:1700000000500000\nended -\nuid 1:5\n";
        let words: Vec<_> = form::parse(text)
            .unwrap()
            .iter()
            .map(Field::words)
            .collect();
        assert_eq!(words, ["2023-11-14T22:13:20.5Z", "none", "5"]);
    }

    #[test]
    fn any_byte_of_a_receipt_that_is_altered_is_found() {
        let (key, good) = signed();
        assert!(checked(&good, None).is_ok() && checked(&good, Some(&key)).is_ok());
        assert!(checked(&good, Some(&PublicKey(vec![0; 32]))).is_err());
        for place in 0..good.len() {
            let mut altered = good.clone();
            altered[place] ^= 1;
            assert!(checked(&altered, None).is_err(), "{place}");
        }
        for length in 0..good.len() {
            assert!(checked(&good[..length], None).is_err(), "{length}");
        }
        assert!(checked(&[good.as_slice(), b"x"].concat(), None).is_err());
    }
}
