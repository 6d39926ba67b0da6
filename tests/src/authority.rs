//! Certificate authorities of a test's own, made by the command openssl as operators make them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::pki::Identity;

/// What `openssl ca` is told beside its arguments.
const CONFIGURATION: &str = "\
[ca]
default_ca = one
[one]
database = index.txt
crlnumber = number
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = default
default_days = 2
default_crl_days = 2
policy = any
crl_extensions = list
[any]
commonName = supplied
[list]
authorityKeyIdentifier = keyid
";

/// A folder of keys, certificates and lists.
#[derive(Debug)]
pub struct Authorities {
    folder: TempDir,
    algorithm: &'static [&'static str],
}

/// A certificate that an authority is to sign.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    /// Its file, without an ending.
    pub name: &'a str,
    /// Who signs it.
    pub issuer: &'a str,
    /// Its subject alternative names, as openssl writes them.
    pub names: &'a str,
    /// What it is for.
    pub usage: &'a str,
    /// Its period, as openssl writes it, if not from now on.
    pub period: Option<(&'a str, &'a str)>,
}

impl Authorities {
    /// With Ed25519 keys.
    pub fn ed25519() -> Self {
        Self::new(&["-algorithm", "ed25519"])
    }

    /// With P-256 keys.
    pub fn p256() -> Self {
        Self::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
    }

    fn new(algorithm: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.conf"), CONFIGURATION).expect("a configuration");
        Self { folder, algorithm }
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("openssl, which this test needs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }

    fn request(&self, name: &str) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let make = [&["genpkey", "-out", &key][..], self.algorithm].concat();
        self.openssl(&make);
        let subject = format!("/CN={name}");
        self.openssl(&[
            "req", "-new", "-key", &key, "-subj", &subject, "-out", &request,
        ]);
    }

    /// An authority, signed by another one or by itself. `extensions` are openssl's.
    pub fn authority(&self, name: &str, issuer: Option<&str>, constraints: &str) {
        self.authority_within(None, name, issuer, constraints);
    }

    /// The same, valid from and until these times, as [`Leaf`] has them.
    pub fn authority_within(
        &self,
        period: Option<(&str, &str)>,
        name: &str,
        issuer: Option<&str>,
        constraints: &str,
    ) {
        self.request(name);
        let extensions = format!(
            "basicConstraints = critical,{constraints}\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n"
        );
        self.sign(name, issuer.unwrap_or(name), &extensions, period);
    }

    /// A certificate, with those of these issuers behind it.
    pub fn leaf(&self, leaf: Leaf<'_>, issuers: &[&str]) -> Identity {
        self.request(leaf.name);
        let names = match leaf.names {
            "" => String::new(),
            names => format!("subjectAltName = {names}\n"),
        };
        let extensions = format!(
            "basicConstraints = critical,CA:FALSE\nkeyUsage = digitalSignature\nextendedKeyUsage = {}\n{names}",
            leaf.usage
        );
        self.sign(leaf.name, leaf.issuer, &extensions, leaf.period);
        let files = std::iter::once(leaf.name).chain(issuers.iter().copied());
        let chain = files.map(|name| {
            fs::read_to_string(self.path(&format!("{name}.pem"))).expect("a certificate")
        });
        let certificate = self.path(&format!("{}.chain.pem", leaf.name));
        fs::write(&certificate, chain.collect::<String>()).expect("a chain");
        let key = self.path(&format!("{}.key", leaf.name));
        Identity { key, certificate }
    }

    fn sign(&self, name: &str, issuer: &str, extensions: &str, period: Option<(&str, &str)>) {
        let index = self.path("index.txt");
        if !index.exists() {
            fs::write(&index, "").expect("an index");
            fs::write(self.path("number"), "01\n").expect("a number");
        }
        let file = format!("{name}.ext");
        fs::write(self.path(&file), extensions).expect("extensions");
        let (request, out) = (format!("{name}.csr"), format!("{name}.pem"));
        let key = format!("{issuer}.key");
        let mut arguments = vec![
            "ca", "-batch", "-notext", "-config", "ca.conf", "-in", &request, "-out", &out,
            "-keyfile", &key, "-extfile", &file,
        ];
        let certificate = format!("{issuer}.pem");
        if issuer == name {
            arguments.push("-selfsign");
        } else {
            arguments.extend(["-cert", &certificate]);
        }
        if let Some((from, until)) = period {
            arguments.extend(["-startdate", from, "-enddate", until]);
        }
        self.openssl(&arguments);
    }

    /// Revokes a certificate that this authority has signed.
    pub fn revoke(&self, name: &str, issuer: &str) {
        let (certificate, issuer) = (format!("{name}.pem"), issuer.to_owned());
        let (key, own) = (format!("{issuer}.key"), format!("{issuer}.pem"));
        self.openssl(&[
            "ca",
            "-config",
            "ca.conf",
            "-revoke",
            &certificate,
            "-keyfile",
            &key,
            "-cert",
            &own,
        ]);
    }

    /// This authority's list of what is revoked, in NAME.crl; `more` are openssl's arguments.
    pub fn list(&self, issuer: &str, more: &[&str]) -> PathBuf {
        let (key, own) = (format!("{issuer}.key"), format!("{issuer}.pem"));
        let out = format!("{issuer}.crl");
        let arguments = [
            "ca", "-config", "ca.conf", "-gencrl", "-keyfile", &key, "-cert", &own, "-out", &out,
        ];
        self.openssl(&[&arguments[..], more].concat());
        self.path(&out)
    }
}
