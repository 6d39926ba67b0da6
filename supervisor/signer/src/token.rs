//! The token: its module, a session, and the key in it (PKCS #11 v3.1).

use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use prn_proto::credentials::token::TokenUri;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// DER of the name of curve P-256 (RFC 5480, 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Why a key is not found, or does not sign.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The shared library is not one.
    #[error("cannot load the module {}: {source}", path.display())]
    Module {
        /// Where it should be.
        path: PathBuf,
        /// What the loader said.
        source: cryptoki::error::Error,
    },
    /// No token is there of that name.
    #[error("the module {} has no token {name}: is it there for this user (id {uid})?", path.display())]
    NoToken {
        /// The module.
        path: PathBuf,
        /// What is missing.
        name: String,
        /// Who asks.
        uid: u32,
    },
    /// The PIN is no text.
    #[error("the PIN is not UTF-8")]
    Pin,
    /// The PIN is wrong, or blocked.
    #[error("the token does not take the PIN: {0}")]
    Login(cryptoki::error::Error),
    /// No key of that name.
    #[error("no private key is called {name:?} in token {token:?}{}", if *.has_pin { "" } else {
        ": most tokens show private keys only after a PIN, add pin-source=file:/PATH"
    })]
    NoKey {
        /// Of the key, or what stands for it.
        name: String,
        /// Of the token.
        token: String,
        /// It was asked with a PIN.
        has_pin: bool,
    },
    /// More than one of that name.
    #[error("the token has {0} private keys {1}: one is meant, name its id as well")]
    Keys(usize, String),
    /// A key of another kind.
    #[error("the key in the token is neither Ed25519 nor P-256")]
    Kind,
    /// The token refuses.
    #[error("the token says: {0}")]
    Token(#[from] cryptoki::error::Error),
    /// It gave something else than a signature.
    #[error("the token gave {0} bytes as a signature, which has 64")]
    Length(usize),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ed25519,
    P256,
}

/// A key in a token, for as long as the session lasts.
#[derive(Debug)]
pub struct Token {
    session: Session,
    key: ObjectHandle,
    kind: Kind,
    /// Keeps the module loaded.
    _module: Pkcs11,
}

impl Token {
    /// Finds it. The PIN is wiped.
    pub fn find(uri: &TokenUri, pin: Zeroizing<Vec<u8>>) -> Result<Self, TokenError> {
        let module = load(uri)?;
        let session = module.open_ro_session(slot(&module, uri)?)?;
        let has_pin = !pin.is_empty();
        if has_pin {
            let pin = str::from_utf8(&pin).map_err(|_| TokenError::Pin)?;
            let pin = AuthPin::new(pin.into());
            session
                .login(UserType::User, Some(&pin))
                .map_err(TokenError::Login)?;
        }
        let key = key(&session, uri, has_pin)?;
        Ok(Self {
            kind: kind(&session, key)?,
            key,
            session,
            _module: module,
        })
    }

    /// A signature: 64 bytes of Ed25519, or the DER of ECDSA with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let signed = match self.kind {
            Kind::Ed25519 => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                self.session.sign(&pure, self.key, message)?
            }
            // Of the digest: not every token makes it itself.
            Kind::P256 => {
                let digest = digest(&SHA256, message);
                self.session
                    .sign(&Mechanism::Ecdsa, self.key, digest.as_ref())?
            }
        };
        let length = TokenError::Length(signed.len());
        let whole: [u8; 64] = signed.try_into().map_err(|_| length)?;
        Ok(match self.kind {
            Kind::Ed25519 => whole.to_vec(),
            Kind::P256 => der(&whole),
        })
    }
}

fn load(uri: &TokenUri) -> Result<Pkcs11, TokenError> {
    let failed = |source| TokenError::Module {
        path: uri.module.clone(),
        source,
    };
    let module = Pkcs11::new(&uri.module).map_err(failed)?;
    let flags = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    module.initialize(flags).map_err(failed)?;
    Ok(module)
}

fn slot(module: &Pkcs11, uri: &TokenUri) -> Result<Slot, TokenError> {
    for slot in module.get_slots_with_initialized_token()? {
        // One that is just being taken away is not meant.
        let Ok(info) = module.get_token_info(slot) else {
            continue;
        };
        let is = |wanted: &Option<String>, found: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted == found.trim_end())
        };
        if is(&uri.token, info.label()) && is(&uri.serial, info.serial_number()) {
            return Ok(slot);
        }
    }
    let names = [&uri.token, &uri.serial];
    Err(TokenError::NoToken {
        path: uri.module.clone(),
        name: names
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(", serial "),
        uid: nix::unistd::geteuid().as_raw(),
    })
}

fn key(session: &Session, uri: &TokenUri, has_pin: bool) -> Result<ObjectHandle, TokenError> {
    let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    wanted.extend(
        uri.object
            .iter()
            .map(|label| Attribute::Label(label.clone().into_bytes())),
    );
    wanted.extend(uri.id.iter().cloned().map(Attribute::Id));
    let found = session.find_objects(&wanted)?;
    match found.as_slice() {
        [one] => Ok(*one),
        several => {
            let name = uri
                .object
                .clone()
                .unwrap_or_else(|| "of that id".to_owned());
            if several.is_empty() {
                let token = uri.token.clone().or_else(|| uri.serial.clone());
                return Err(TokenError::NoKey {
                    name,
                    token: token.unwrap_or_default(),
                    has_pin,
                });
            }
            Err(TokenError::Keys(several.len(), name))
        }
    }
}

fn kind(session: &Session, key: ObjectHandle) -> Result<Kind, TokenError> {
    let asked = [AttributeType::KeyType, AttributeType::EcParams];
    let found = session.get_attributes(key, &asked)?;
    let is_p256 = found.contains(&Attribute::EcParams(P256.to_vec()));
    if found.contains(&Attribute::KeyType(KeyType::EC_EDWARDS)) {
        Ok(Kind::Ed25519)
    } else if is_p256 && found.contains(&Attribute::KeyType(KeyType::EC)) {
        Ok(Kind::P256)
    } else {
        Err(TokenError::Kind)
    }
}

/// The two numbers of a signature as an Ecdsa-Sig-Value (RFC 3279, 2.2.3).
fn der(numbers: &[u8; 64]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = bytes.get(zeros..).unwrap_or_default();
        // A first bit that is set would be a sign (X.690, 8.3).
        let is_signed = digits.first().is_none_or(|first| *first > 0x7f);
        let padding: &[u8] = if is_signed { &[0] } else { &[] };
        tagged(0x02, &[padding, digits].concat())
    };
    let (r, s) = numbers.split_at(32);
    tagged(0x30, &[number(r), number(s)].concat())
}

/// Of fewer than 128 bytes: two numbers of up to 33 are.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    [&[tag, length][..], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_a_sign_and_without_leading_zeros() {
        let mut numbers = [0; 64];
        numbers[30] = 0x80;
        numbers[31] = 0x01;
        numbers[32..].fill(0x7f);
        let der = der(&numbers);
        assert_eq!(der[..7], [0x30, 39, 0x02, 3, 0, 0x80, 1]);
        assert_eq!(der[7..9], [0x02, 32]);
        let mut zero = [0; 64];
        zero[63] = 1;
        assert_eq!(super::der(&zero), [0x30, 6, 2, 1, 0, 2, 1, 1]);
    }
}
