//! Keys and certificates, made by `prn keygen`, or by rcgen where a test needs what `prn keygen`
//! would not make.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use crate::binary;

/// A key and its certificate, as files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM, PKCS#8, mode 0600.
    pub key: PathBuf,
    /// PEM.
    pub certificate: PathBuf,
}

impl Identity {
    /// Made by `prn keygen`, with more arguments of its.
    pub fn keygen(folder: &Path, name: &str, more: &[&str]) -> Self {
        let made = Self::paths(folder, name);
        let output = Command::new(binary("prn"))
            .args(["keygen", "--name", name, "--key"])
            .arg(&made.key)
            .arg("--cert")
            .arg(&made.certificate)
            .args(more)
            .output()
            .expect("prn keygen");
        assert!(
            output.status.success(),
            "prn keygen: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        made
    }

    /// Made by rcgen from parameters of the test's own.
    pub fn custom(folder: &Path, name: &str, params: CertificateParams, key: &KeyPair) -> Self {
        let made = Self::paths(folder, name);
        let certificate = params.self_signed(key).expect("a self-signed certificate");
        write_private(&made.key, &key.serialize_pem());
        std::fs::write(&made.certificate, certificate.pem()).expect("the certificate's file");
        made
    }

    fn paths(folder: &Path, name: &str) -> Self {
        Self {
            key: folder.join(format!("{name}.key")),
            certificate: folder.join(format!("{name}.pem")),
        }
    }

    /// The key's PEM.
    pub fn key_pem(&self) -> String {
        std::fs::read_to_string(&self.key).expect("the key's file")
    }

    /// The certificate's PEM.
    pub fn certificate_pem(&self) -> String {
        std::fs::read_to_string(&self.certificate).expect("the certificate's file")
    }

    /// The same certificate with another key.
    pub fn with_key(&self, key: &Path) -> Self {
        Self {
            key: key.to_owned(),
            certificate: self.certificate.clone(),
        }
    }
}

/// A new Ed25519 key.
pub fn ed25519() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("a key")
}

/// Writes a file with mode 0600.
pub fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.expect("a private file")
        .write_all(text.as_bytes())
        .expect("a private file");
}
