//! What peers are known by: their certificates, fingerprints of their keys, or an authority and a
//! name. Authorities are made by the command openssl, and each refusal is checked for its reason,
//! in the server's log and by what the client is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prn_proto::tls::{Certificate, KeyFingerprint};
use prn_tests::authority::{Authorities, Leaf};
use prn_tests::hostile::{self, Curious, Obstinate, Seen, handshake, shown, signer};
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use prn_tests::{binary, libraries, wait_for};
use rcgen::CertificateParams;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, Error, SignatureScheme};

/// Exit code of `prn` when one side does not accept the other.
const NOT_AUTHORISED: i32 = 4;

/// A certificate of a client with this name.
fn client<'a>(name: &'a str, names: &'a str) -> Leaf<'a> {
    Leaf {
        name,
        issuer: "middle",
        names,
        usage: "clientAuth",
        period: None,
    }
}

/// A root that allows one authority below it, that one, and one that should not be there.
fn hierarchy(made: Authorities) -> Authorities {
    made.authority("root", None, "CA:TRUE,pathlen:1");
    made.authority("middle", Some("root"), "CA:TRUE");
    made.authority("deep", Some("middle"), "CA:TRUE");
    made.authority("other", None, "CA:TRUE");
    made
}

/// A server whose configuration is this.
fn configured(folder: &Path, text: &str) -> Server {
    Server::with(options(folder, text))
}

fn options(folder: &Path, text: &str) -> Options {
    let file = folder.join("prn.toml");
    fs::write(&file, text).unwrap();
    Options {
        arguments: vec!["--config".to_owned(), file.display().to_string()],
        lists_clients: true,
        ..Options::default()
    }
}

/// Clients by names: one that may start, and those below a part of a name, who may look.
fn named(made: &Authorities, more: &str) -> String {
    format!(
        "client-ca = ['{}']\n{more}\n\
         [[client]]\nname = 'ci'\nsan = ['uri:spiffe://prod/ci', 'dns:ci.example']\nrole = 'runner'\n\
         [[client]]\nname = 'team'\nsan = ['uri:spiffe://prod/*', 'dns:*.team.example']\nrole = 'viewer'\n",
        made.path("root.pem").display()
    )
}

fn run(server: &Server, client: &Identity) -> Output {
    server
        .prn_as(client, &["run", "--", "echo", "hello"])
        .output()
        .unwrap()
}

fn lists(server: &Server, client: &Identity) -> Output {
    server.prn_as(client, &["list"]).output().unwrap()
}

fn ok(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn leaf_of(identity: &Identity) -> Certificate {
    let pem = identity.certificate_pem();
    let end = "-----END CERTIFICATE-----\n";
    let first = pem.split_inclusive(end).next().unwrap();
    Certificate::from_pem(first.as_bytes()).unwrap()
}

/// Checks that a client is told that it is not let in, and that the log says of its certificate
/// why.
#[track_caller]
fn refused(server: &Server, client: &Identity, reason: &str) {
    let output = lists(server, client);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(NOT_AUTHORISED),
        "{reason}: {said}"
    );
    assert!(said.contains("not authorised"), "{reason}: {said}");
    let fingerprint = leaf_of(client).fingerprint().to_string();
    // A few lines a second are written, so it may take another try.
    wait_for(reason, || {
        let log = server.log();
        let mut lines = log.lines();
        let is_said = lines.any(|line| line.contains(&fingerprint) && line.contains(reason));
        is_said || lists(server, client).status.success()
    });
}

#[test]
fn a_client_whose_certificate_an_authority_has_signed_is_who_its_name_says() {
    let made = hierarchy(Authorities::ed25519());
    let server = configured(made.folder(), &named(&made, ""));
    for (name, names) in [
        ("exact", "URI:spiffe://prod/ci"),
        ("host", "DNS:CI.example"),
        ("both", "URI:spiffe://prod/ci,DNS:ci.example,email:a@b"),
    ] {
        let ci = made.leaf(client(name, names), &["middle"]);
        assert_eq!(ok(&run(&server, &ci)), "hello\n", "{names}");
    }
    for (name, names) in [
        ("below", "URI:spiffe://prod/ci/other"),
        ("beside", "URI:spiffe://prod/cd"),
        ("label", "DNS:anna.team.example"),
    ] {
        let team = made.leaf(client(name, names), &["middle"]);
        ok(&lists(&server, &team));
        let output = run(&server, &team);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("role does not allow it"), "{names}: {said}");
    }
}

#[test]
fn each_certificate_of_an_authority_that_is_refused_is_refused_for_its_reason() {
    let made = hierarchy(Authorities::ed25519());
    let ci = "URI:spiffe://prod/ci";
    let leaf = client;
    let with = |leaf: Leaf<'_>| made.leaf(leaf, &["middle"]);
    let revoked = with(leaf("revoked", ci));
    let good = with(leaf("good", ci));
    made.revoke("revoked", "middle");
    let lists = format!(
        "client-crl = ['{}', '{}', '{}']",
        made.list("deep", &[]).display(),
        made.list("middle", &[]).display(),
        made.list("root", &[]).display()
    );
    let server = configured(made.folder(), &named(&made, &lists));
    assert_eq!(ok(&run(&server, &good)), "hello\n");

    let period = Some(("20200101000000Z", "20200102000000Z"));
    let expired = with(Leaf {
        period,
        ..leaf("expired", ci)
    });
    let later = Some(("20990101000000Z", "20990102000000Z"));
    let early = with(Leaf {
        period: later,
        ..leaf("early", ci)
    });
    // This client says so itself, before it connects, so another one shows them.
    for (identity, reason) in [
        (&expired, "it has expired"),
        (&early, "it is not valid yet"),
    ] {
        let chain = vec![
            CertificateDer::from(leaf_of(identity).der().to_vec()),
            hostile::der(&Identity {
                key: good.key.clone(),
                certificate: made.path("middle.pem"),
            }),
        ];
        let key = CertifiedKey::new(chain, signer(identity));
        let seen = hostile::connect(
            &server.address,
            &Arc::new(hostile::client_config(Some(key))),
        );
        assert_eq!(alert(&seen), Some(AlertDescription::CertificateExpired));
        wait_for(reason, || server.log().contains(reason));
    }

    let usage = "serverAuth";
    let wrong = with(Leaf {
        usage,
        ..leaf("wrong-usage", ci)
    });
    refused(
        &server,
        &wrong,
        "its extended key usage does not allow clients",
    );
    refused(&server, &revoked, "it is revoked");
    let outside = with(leaf("outside", "URI:spiffe://test/ci,DNS:a.b.team.example"));
    refused(&server, &outside, "has no name of a client");
    refused(
        &server,
        &with(leaf("nameless", "")),
        "has no name of a client",
    );
    let two = with(leaf("two", "URI:spiffe://prod/ci,DNS:anna.team.example"));
    refused(&server, &two, "has names of several clients");
    let issuer = "deep";
    let long = made.leaf(
        Leaf {
            issuer,
            ..leaf("long", ci)
        },
        &["deep", "middle"],
    );
    refused(
        &server,
        &long,
        "more authorities between it and the one of client-ca",
    );
    let issuer = "other";
    let stranger = made.leaf(
        Leaf {
            issuer,
            ..leaf("stranger", ci)
        },
        &["other"],
    );
    refused(
        &server,
        &stranger,
        "no authority of client-ca has issued it",
    );
    let gap = made.leaf(leaf("gap", ci), &[]);
    refused(&server, &gap, "no authority of client-ca has issued it");
    let own = Identity::keygen(made.folder(), "own", &[]);
    refused(&server, &own, "is not pinned");
    assert_eq!(ok(&run(&server, &good)), "hello\n");
}

#[test]
fn an_authority_makes_no_more_authorities_than_it_may() {
    let made = Authorities::ed25519();
    made.authority("root", None, "CA:TRUE");
    made.authority("middle", Some("root"), "CA:TRUE,pathlen:0");
    made.authority("deep", Some("middle"), "CA:TRUE");
    let server = configured(made.folder(), &named(&made, ""));
    let ci = "URI:spiffe://prod/ci";
    assert_eq!(
        ok(&run(&server, &made.leaf(client("good", ci), &["middle"]))),
        "hello\n"
    );
    let issuer = "deep";
    let long = made.leaf(
        Leaf {
            issuer,
            ..client("long", ci)
        },
        &["deep", "middle"],
    );
    refused(
        &server,
        &long,
        "more authorities between it and the one of client-ca",
    );
    // One that is no authority makes none.
    let issuer = "good";
    let below = made.leaf(
        Leaf {
            issuer,
            ..client("below", ci)
        },
        &["middle"],
    );
    refused(&server, &below, "no authority of client-ca has issued it");
}

#[test]
fn what_cannot_be_shown_not_to_be_revoked_is_refused() {
    let made = hierarchy(Authorities::ed25519());
    let good = made.leaf(client("good", "URI:spiffe://prod/ci"), &["middle"]);
    let listed = |lists: &[&PathBuf]| {
        let lists: Vec<_> = lists
            .iter()
            .map(|path| format!("'{}'", path.display()))
            .collect();
        let lists = format!("client-crl = [{}]", lists.join(", "));
        configured(made.folder(), &named(&made, &lists))
    };
    let (middle, root) = (made.list("middle", &[]), made.list("root", &[]));
    let warning = "root.pem: no list of client-crl is of this authority: nobody is let in under it";
    let server = listed(&[&middle, &root]);
    assert_eq!(ok(&run(&server, &good)), "hello\n");
    assert!(!server.log().contains("no list of"), "{}", server.log());
    let server = listed(&[&middle]);
    assert!(server.log().contains(warning), "{}", server.log());
    // Of the authority above it there is none, and a list of somebody else is none.
    for lists in [
        &[&middle][..],
        &[&middle, &made.list("other", &[])],
        &[&root],
    ] {
        refused(
            &listed(lists),
            &good,
            "no list of client-crl is of its issuer",
        );
    }
    let old = [
        "-crl_lastupdate",
        "20200101000000Z",
        "-crl_nextupdate",
        "20200102000000Z",
    ];
    let server = listed(&[&made.list("middle", &old), &root]);
    refused(
        &server,
        &good,
        "the revocation list of its issuer has expired",
    );
    assert!(
        server.log().contains("was to be followed by another one"),
        "{}",
        server.log()
    );
    // One that only bears the issuer's name.
    made.list("middle", &[]);
    fs::copy(made.path("middle.pem"), made.path("real.pem")).unwrap();
    made.authority("middle", Some("root"), "CA:TRUE");
    let forged = made.list("middle", &[]);
    let output = lists(&listed(&[&forged, &root]), &good);
    assert_eq!(output.status.code(), Some(NOT_AUTHORISED));
}

#[test]
fn a_server_is_known_by_an_authority_and_its_name() {
    let made = hierarchy(Authorities::ed25519());
    let leaf = Leaf {
        usage: "serverAuth",
        ..client("web1", "DNS:web1.example,IP:127.0.0.1")
    };
    let identity = made.leaf(leaf, &["middle"]);
    let server = Server::with(Options {
        identity: Some(identity),
        ..Options::default()
    });
    let (root, other) = (made.path("root.pem"), made.path("other.pem"));
    let list = |authority: &Path, more: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command.args(["list", "--address", &server.address, "--client-cert"]);
        command
            .arg(&server.client.certificate)
            .arg("--tls-key")
            .arg(&server.client.key);
        command.arg("--server-ca").arg(authority).args(more);
        command
            .env_clear()
            .env("HOME", made.folder())
            .output()
            .unwrap()
    };
    ok(&list(&root, &["--server-name", "web1.example"]));
    // The address says the name.
    ok(&list(&root, &[]));
    for (authority, name, reason) in [
        (&root, "web2.example", "web2.example"),
        (&other, "web1.example", "UnknownIssuer"),
    ] {
        let output = list(authority, &["--server-name", name]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(NOT_AUTHORISED), "{said}");
        assert!(said.contains(reason), "{reason}: {said}");
        let is_name = name == "web2.example";
        assert_eq!(said.contains("--server-name says"), is_name, "{said}");
    }
    // A certificate of the authority's for a client is no server's.
    let posing = made.leaf(client("posing", "DNS:web1.example"), &["middle"]);
    let posing = Server::with(Options {
        identity: Some(posing),
        ..Options::default()
    });
    let mut command = Command::new(binary("prn"));
    command.args([
        "list",
        "--server-name",
        "web1.example",
        "--address",
        &posing.address,
    ]);
    command.arg("--client-cert").arg(&posing.client.certificate);
    command
        .arg("--tls-key")
        .arg(&posing.client.key)
        .arg("--server-ca")
        .arg(&root);
    let output = command
        .env_clear()
        .env("HOME", made.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(NOT_AUTHORISED), "{said}");
    assert!(said.contains("extended key usage"), "{said}");
}

/// What a server has ended a handshake with.
fn alert(seen: &Seen) -> Option<AlertDescription> {
    match seen.error {
        Some(Error::AlertReceived(alert)) => Some(alert),
        _ => None,
    }
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let output = command.args(arguments);
    let output = output.output().expect("openssl, which this test needs");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn fingerprints_are_those_that_ssh_keygen_and_curl_know_a_key_by() {
    let folder = tempfile::tempdir().unwrap();
    for (more, name) in [(&[][..], "ed25519"), (&["--p256"], "p256")] {
        let identity = Identity::keygen(folder.path(), name, more);
        let mut show = Command::new(binary("prn"));
        show.args(["keygen", "--show"]).arg(&identity.certificate);
        let said = ok(&show.output().unwrap());
        // curl's, as its manual makes it (--pinnedpubkey).
        let info = openssl(&[
            "pkey",
            "-pubout",
            "-outform",
            "DER",
            "-in",
            identity.key.to_str().unwrap(),
        ]);
        let file = folder.path().join("info.der");
        fs::write(&file, &info).unwrap();
        let hash = openssl(&["dgst", "-sha256", "-binary", file.to_str().unwrap()]);
        assert!(
            said.contains(&format!("sha256//{}", STANDARD.encode(hash))),
            "{said}"
        );
        // ssh's: of the key in the form of its files.
        let blob = |parts: &[&[u8]]| {
            let each = parts.iter();
            each.flat_map(|part| [&(part.len() as u32).to_be_bytes()[..], part].concat())
                .collect::<Vec<u8>>()
        };
        let (kind, blob) = match more {
            [] => (
                "ssh-ed25519",
                blob(&[b"ssh-ed25519", &info[info.len() - 32..]]),
            ),
            _ => (
                "ecdsa-sha2-nistp256",
                blob(&[
                    b"ecdsa-sha2-nistp256",
                    b"nistp256",
                    &info[info.len() - 65..],
                ]),
            ),
        };
        let public = folder.path().join(format!("{name}.pub"));
        fs::write(&public, format!("{kind} {} x\n", STANDARD.encode(blob))).unwrap();
        let output = Command::new("ssh-keygen").arg("-lf").arg(&public).output();
        let printed = ok(&output.expect("ssh-keygen, which this test needs"));
        let ssh = printed.split_whitespace().nth(1).unwrap();
        assert!(
            ssh.starts_with("SHA256:") && said.contains(ssh),
            "{ssh}: {said}"
        );
    }
}

/// The fingerprints of a key: as ssh prints it, and as curl takes it.
fn fingerprints(identity: &Identity) -> [KeyFingerprint; 2] {
    leaf_of(identity).key_fingerprints()
}

#[test]
fn a_client_is_known_by_either_fingerprint_of_its_key_in_any_certificate_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let made = ["ssh", "curl", "other"].map(|name| Identity::keygen(at, name, &[]));
    let [ssh, curl, other] = &made;
    let text = format!(
        "[[client]]\nname = 'a'\nfingerprint = '{}'\nrole = 'admin'\n\
         [[client]]\nname = 'b'\nfingerprint = ['{}', '{}']\nrole = 'runner'\n",
        fingerprints(ssh)[0],
        fingerprints(curl)[1],
        fingerprints(other)[0],
    );
    let server = configured(at, &text);
    for client in &made {
        assert_eq!(ok(&run(&server, client)), "hello\n");
    }
    // Made anew of the same key.
    let key = rcgen::KeyPair::from_pem(&ssh.key_pem()).unwrap();
    let again = |name: &str, change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["again".to_owned()]).unwrap();
        change(&mut params);
        Identity::custom(at, name, params, &key)
    };
    assert_eq!(ok(&run(&server, &again("again", |_| {}))), "hello\n");
    // The key alone does not make a certificate usable.
    let useless = again("useless", |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    });
    let expired = again("expired", |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let alert_of = |chain: Vec<CertificateDer<'static>>| {
        let key = CertifiedKey::new(chain, signer(ssh));
        let config = hostile::client_config(Some(key));
        alert(&hostile::connect(&server.address, &Arc::new(config)))
    };
    let of = |identity: &Identity| hostile::der(identity);
    assert_eq!(
        alert_of(vec![of(&useless)]),
        Some(AlertDescription::AccessDenied)
    );
    wait_for("a reason", || {
        server
            .log()
            .contains("cannot be used: its key usage does not allow signatures")
    });
    assert_eq!(
        alert_of(vec![of(&expired)]),
        Some(AlertDescription::CertificateExpired)
    );
    assert_eq!(
        alert_of(vec![of(ssh), of(other)]),
        Some(AlertDescription::UnknownCA)
    );
    // Nor does the certificate without the key.
    let thief = Identity::keygen(at, "thief", &[]);
    let stolen = CertifiedKey::new(vec![of(ssh)], signer(&thief));
    let config = hostile::client_config(Some(stolen));
    let seen = hostile::connect(&server.address, &Arc::new(config));
    assert_eq!(alert(&seen), Some(AlertDescription::DecryptError));
    refused(&server, &thief, "is not pinned");
}

#[test]
fn t14_a_certificate_whose_key_has_any_bit_flipped_is_not_that_of_a_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let (pinned, honest) = (
        Identity::keygen(folder.path(), "pinned", &[]),
        Identity::keygen(folder.path(), "honest", &[]),
    );
    let der = leaf_of(&pinned).der().to_vec();
    let peer = prn_proto::tls::Peer {
        keys: vec![fingerprints(&pinned)[1]],
        ..Default::default()
    };
    let clients = prn_proto::tls::Clients {
        peers: vec![peer],
        ..Default::default()
    };
    let key = prn_proto::tls::Key::from_pem(honest.key_pem().as_bytes()).unwrap();
    let server = prn_proto::tls::server_config(leaf_of(&honest), &key, clients).unwrap();
    let shows = |der: Vec<u8>| {
        let key = CertifiedKey::new(vec![CertificateDer::from(der)], signer(&pinned));
        handshake(hostile::client_config(Some(key)), server.clone())
    };
    assert_eq!(shows(der.clone()), Ok(()));
    // SubjectPublicKeyInfo of Ed25519 (RFC 8410, section 4).
    let info = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let start = der
        .windows(info.len())
        .position(|part| part == info)
        .unwrap();
    for bit in start * 8..(start + info.len() + 32) * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = CertificateError::ApplicationVerificationFailure;
        assert_eq!(
            shows(flipped),
            Err(Error::InvalidCertificate(refused)),
            "bit {bit}"
        );
    }
}

#[test]
fn a_server_is_known_by_its_fingerprint_and_by_two_certificates_while_one_follows_the_other() {
    let server = Server::start();
    let next = Identity::keygen(server.folder(), "next", &[]);
    let list = |known: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command.args(["list", "--address", &server.address, "--client-cert"]);
        command
            .arg(&server.client.certificate)
            .arg("--tls-key")
            .arg(&server.client.key);
        command
            .args(known)
            .env_clear()
            .env("HOME", server.folder())
            .output()
            .unwrap()
    };
    let now = server.identity.certificate.to_str().unwrap();
    let next_file = next.certificate.to_str().unwrap();
    ok(&list(&["--server-cert", next_file, "--server-cert", now]));
    for form in fingerprints(&server.identity) {
        ok(&list(&["--server-fingerprint", &form.to_string()]));
        ok(&list(&[
            "--server-cert",
            next_file,
            "--server-fingerprint",
            &form.to_string(),
        ]));
    }
    let other = fingerprints(&next)[0].to_string();
    let output = list(&["--server-cert", next_file, "--server-fingerprint", &other]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(NOT_AUTHORISED), "{said}");
    for part in [
        leaf_of(&server.identity).fingerprint().to_string(),
        leaf_of(&next).fingerprint().to_string(),
        other,
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    // A context keeps all of it.
    let home = tempfile::tempdir().unwrap();
    let prn = |words: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command
            .args(words)
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap()
    };
    let client = server.client.certificate.to_str().unwrap();
    let key = server.client.key.to_str().unwrap();
    let form = fingerprints(&server.identity)[1].to_string();
    let words = [
        "context",
        "add",
        "web1",
        "--address",
        &server.address,
        "--client-cert",
        client,
    ];
    let words = [&words[..], &["--tls-key", key, "--server-cert", next_file]].concat();
    ok(&prn(&[&words[..], &["--server-cert", now]].concat()));
    ok(&prn(&["list"]));
    ok(&prn(&[
        &words[..],
        &["--force", "--server-fingerprint", &form],
    ]
    .concat()));
    ok(&prn(&["list"]));
    let shown = ok(&prn(&["context", "show"]));
    assert!(
        shown.contains(&form) && shown.contains("in the configuration"),
        "{shown}"
    );
}

#[test]
fn p_256_is_taken_where_it_is_asked_for_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let p256 = Identity::keygen(folder.path(), "p256", &["--p256"]);
    let form = fingerprints(&p256)[0];
    let by_key = format!("[[client]]\nname = 'a'\nfingerprint = '{form}'\nrole = 'admin'\n");
    let server = configured(folder.path(), &by_key);
    let key = || CertifiedKey::new(vec![hostile::der(&p256)], signer(&p256));
    // Its scheme is not even offered, so an honest client has nothing to sign with.
    let (config, curious) = Curious::client(key());
    hostile::connect(&server.address, &Arc::new(config));
    assert_eq!(*curious.offered.lock().unwrap(), [SignatureScheme::ED25519]);
    let obstinate = CertifiedKey::new(
        vec![hostile::der(&p256)],
        Arc::new(Obstinate {
            key: signer(&p256),
            scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
        }),
    );
    let config = hostile::client_config(Some(obstinate));
    let seen = hostile::connect(&server.address, &Arc::new(config));
    assert_eq!(alert(&seen), Some(AlertDescription::AccessDenied));
    wait_for("a reason", || {
        server.log().contains("its key is not Ed25519 but P-256")
    });

    let server = Server::with(Options {
        identity: Some(Identity::keygen(folder.path(), "server", &["--p256"])),
        ..options(folder.path(), &format!("allow-p256 = true\n{by_key}"))
    });
    assert_eq!(ok(&run(&server, &p256)), "hello\n");
}

#[test]
fn t5_a_signature_of_the_other_kind_of_key_is_refused_where_both_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let made = [("one", &[][..]), ("two", &["--p256"])]
        .map(|(name, more)| Identity::keygen(folder.path(), name, more));
    let [ed, p256] = &made;
    let text = format!(
        "allow-p256 = true\n[[client]]\nname = 'a'\ncert = ['{}', '{}']\nrole = 'admin'\n",
        ed.certificate.display(),
        p256.certificate.display()
    );
    let server = configured(folder.path(), &text);
    let (config, curious) = Curious::client(shown(ed));
    hostile::connect(&server.address, &Arc::new(config));
    let both = [
        SignatureScheme::ED25519,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];
    assert_eq!(*curious.offered.lock().unwrap(), both);
    for (shown, signs, scheme) in [
        (ed, p256, SignatureScheme::ECDSA_NISTP256_SHA256),
        (p256, ed, SignatureScheme::ED25519),
    ] {
        let key = signer(signs);
        let key = CertifiedKey::new(
            vec![hostile::der(shown)],
            Arc::new(Obstinate { key, scheme }),
        );
        let config = hostile::client_config(Some(key));
        let seen = hostile::connect(&server.address, &Arc::new(config));
        assert_eq!(
            alert(&seen),
            Some(AlertDescription::DecryptError),
            "{scheme:?}"
        );
    }
    for client in &made {
        assert_eq!(ok(&run(&server, client)), "hello\n");
    }
}

#[test]
fn an_authority_with_p_256_keys_is_taken_where_both_kinds_are() {
    let made = hierarchy(Authorities::p256());
    let text = named(&made, "allow-p256 = true");
    let server = configured(made.folder(), &text);
    let ci = made.leaf(client("ci", "URI:spiffe://prod/ci"), &["middle"]);
    assert_eq!(ok(&run(&server, &ci)), "hello\n");
    let refused = Server::try_with(options(made.folder(), &named(&made, ""))).unwrap_err();
    assert!(
        refused.log.contains("not Ed25519 but P-256"),
        "{}",
        refused.log
    );
}

#[test]
fn a_connection_ends_with_the_certificate_of_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let mut date = Command::new("date");
    let end = ok(&date
        .args(["-u", "-d", "+6 seconds", "+%FT%TZ"])
        .output()
        .unwrap());
    let end = end.trim();
    let short = Identity::keygen(folder.path(), "short", &["--not-after", end]);
    let server = Server::with(Options {
        pins: vec![short.certificate.clone()],
        ..Options::default()
    });
    let id = server.start_process(&[], &["sleep", "1000"]);
    let mut follower = server.prn_as(&short, &["logs", "-f", &id]);
    let output = follower.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    ok(&server.prn(&["kill", &id]).output().unwrap());
}

fn libraries() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

const GRPCIO: &str = r#"
import os, grpc
import process_runner_pb2 as v1
from google.protobuf import descriptor_pb2
read = lambda name: open(os.environ[name], "rb").read()
credentials = grpc.ssl_channel_credentials(read("PRN_SERVER_CERT"), read("PRN_TLS_KEY_FILE"), read("PRN_CLIENT_CERT"))
with grpc.secure_channel(os.environ["PRN_ADDRESS"], credentials) as channel:
    service = v1.DESCRIPTOR.services_by_name["ProcessRunnerService"]
    call = channel.unary_unary(f"/{service.full_name}/List",
        request_serializer=v1.ListRequest.SerializeToString, response_deserializer=v1.ListResponse.FromString)
    call(v1.ListRequest(), timeout=30)
    print("listed")
"#;

#[test]
fn grpcio_and_node_take_part_with_p_256_keys() {
    let folder = tempfile::tempdir().unwrap();
    let [identity, client] =
        ["server", "client"].map(|name| Identity::keygen(folder.path(), name, &["--p256"]));
    let text = format!(
        "allow-p256 = true\n[[client]]\nname = 'a'\ncert = '{}'\nrole = 'admin'\n",
        client.certificate.display()
    );
    let server = Server::with(Options {
        identity: Some(identity),
        ..options(folder.path(), &text)
    });
    let as_client = |command: &mut Command| {
        command
            .env("PRN_ADDRESS", &server.address)
            .env("PRN_CLIENT_CERT", &client.certificate)
            .env("PRN_SERVER_CERT", &server.identity.certificate)
            .env_remove("PRN_TLS_KEY")
            .env("PRN_TLS_KEY_FILE", &client.key)
            .output()
            .unwrap()
    };
    let (examples, schema) = (
        root().join("examples"),
        root().join("proto/v1/process_runner.proto"),
    );
    let python = libraries::python(&libraries().join("python"), &examples, &schema);
    let mut command = Command::new(python.interpreter);
    command.args(["-c", GRPCIO]).env("PYTHONPATH", python.stubs);
    assert_eq!(ok(&as_client(&mut command)), "listed\n");

    let modules = libraries::npm(&libraries().join("node"), &examples);
    let mut command = Command::new("node");
    command
        .arg(examples.join("input.js"))
        .args(["echo", "hello"]);
    command
        .env("NODE_PATH", modules)
        .stdin(std::process::Stdio::null());
    assert_eq!(ok(&as_client(&mut command)), "hello\n");
}

#[test]
fn a_connection_ends_with_the_list_that_let_its_client_in() {
    let made = hierarchy(Authorities::ed25519());
    let good = made.leaf(client("good", "URI:spiffe://prod/ci"), &["middle"]);
    let mut date = Command::new("date");
    let end = ok(&date
        .args(["-u", "-d", "+8 seconds", "+%Y%m%d%H%M%SZ"])
        .output()
        .unwrap());
    let middle = made.list("middle", &["-crl_nextupdate", end.trim()]);
    let root = made.list("root", &[]);
    let lists = format!(
        "client-crl = ['{}', '{}']",
        middle.display(),
        root.display()
    );
    let server = configured(made.folder(), &named(&made, &lists));
    let started = server.prn_as(&good, &["start", "--", "sleep", "1000"]);
    let id = ok(&{ started }.output().unwrap());
    let mut follower = server.prn_as(&good, &["logs", "-f", id.trim()]);
    let output = follower.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    refused(
        &server,
        &good,
        "the revocation list of its issuer has expired",
    );
}

#[test]
fn a_stranger_cannot_have_more_signatures_checked_than_a_chain_has() {
    let made = hierarchy(Authorities::ed25519());
    let long = made.leaf(client("long", "URI:spiffe://prod/ci"), &["middle"; 7]);
    let server = configured(made.folder(), &named(&made, ""));
    refused(
        &server,
        &long,
        "more certificates have come than a chain has",
    );
}

#[test]
fn what_is_wrong_with_clients_and_authorities_is_said_where_it_stands() {
    let made = hierarchy(Authorities::ed25519());
    let at = made.folder();
    let one = Identity::keygen(at, "one", &[]);
    let key = fingerprints(&one)[0];
    fs::copy(made.list("middle", &[]), at.join("newer.crl")).unwrap();
    let role = "role = 'admin'\n";
    let said = |text: &str| {
        fs::write(at.join("bad.toml"), text).unwrap();
        let mut command = Command::new(binary("prn"));
        command
            .args(["policy", "check", "bad.toml"])
            .current_dir(at);
        let output = command.env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        String::from_utf8(output.stderr).unwrap()
    };
    let ca = "client-ca = ['root.pem']\n";
    let cert = format!("[[client]]\nname = 'a'\ncert = 'one.pem'\n{role}");
    for (text, expected) in [
        (
            format!("[[client]]\nname = 'a'\n{role}"),
            "bad.toml:2: nothing says what",
        ),
        (
            format!("[[client]]\nname = 'a'\nfingerprint = 'x'\n{role}"),
            "bad.toml:3: \"x\" is not a key's fingerprint",
        ),
        (
            format!("[[client]]\nname = 'a'\nfingerprint = []\n{role}"),
            "bad.toml:3: fingerprint is empty",
        ),
        (
            format!("[[client]]\nname = 'a'\nsan = 'dns:a'\n{role}"),
            "bad.toml:3: a name counts in certificates",
        ),
        (
            format!("{ca}[[client]]\nname = 'a'\nsan = 'ci'\n{role}"),
            "bad.toml:4: \"ci\" names no certificates",
        ),
        (
            format!("{ca}{cert}"),
            "--client-ca lets nobody in by itself",
        ),
        (
            format!("client-crl = ['root.pem']\n{cert}"),
            "--client-crl is of the authorities",
        ),
        (
            format!("{cert}[[client]]\nname = 'b'\nfingerprint = '{key}'\n{role}"),
            "is a key of client a as well",
        ),
        (
            format!(
                "{ca}[[client]]\nname = 'a'\nsan = 'dns:a'\n{role}[[client]]\nname = 'b'\nsan = ['dns:b', 'dns:A']\n{role}"
            ),
            "bad.toml:8: dns:a is a name of client a as well",
        ),
        (
            format!("client-ca = ['one.pem']\n[[client]]\nname = 'a'\nsan = 'dns:a'\n{role}"),
            "it is no certificate authority's",
        ),
        (
            format!(
                "{ca}client-crl = ['middle.crl', 'newer.crl']\n[[client]]\nname = 'a'\nsan = 'dns:a'\n{role}"
            ),
            "newer.crl and middle.crl are of one issuer: give the newest one alone",
        ),
        (
            format!("{ca}client-crl = ['one.pem']\n[[client]]\nname = 'a'\nsan = 'dns:a'\n{role}"),
            "the revocation list one.pem is refused",
        ),
    ] {
        let said = said(&text);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_client_is_added_and_removed_and_nothing_that_would_be_refused_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let made = ["anna", "ben", "next"].map(|name| Identity::keygen(at, name, &[]));
    let [_, ben, next] = &made;
    fs::write(
        at.join("prn.toml"),
        "[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'admin'\n",
    )
    .unwrap();
    let pin = |words: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command.args(words).args(["--config", "prn.toml"]);
        let output = command.current_dir(at).env_clear().output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), listed, said)
    };
    let files = || {
        let names = fs::read_dir(at.join("clients.d")).into_iter().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let refused = |words: &[&str], code: i32, part: &str| {
        let before = files();
        let (found, _, said) = pin(words);
        assert_eq!(found, Some(code), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
        assert_eq!(files(), before, "{words:?}");
    };
    refused(
        &["pin", "add", "ben", "ben.pem"],
        2,
        "--role says what a new one may do",
    );
    refused(
        &["pin", "add", "ben", "SHA256:x", "--role", "viewer"],
        2,
        "is not a key's fingerprint",
    );
    refused(
        &["pin", "add", "ben", "ben.pem", "--role", "boss"],
        1,
        "there is no role boss",
    );
    refused(
        &["pin", "add", "ben", "anna.pem", "--role", "viewer"],
        1,
        "of client anna as well",
    );
    refused(
        &["pin", "add", "anna", "ben.pem", "--role", "viewer"],
        2,
        "client anna stands at prn.toml:1, which is edited by hand",
    );
    refused(
        &["pin", "add", "anna", "ben.pem"],
        2,
        "client anna stands at prn.toml:1, which is edited by hand",
    );
    refused(
        &["pin", "remove", "anna"],
        2,
        "client anna stands at prn.toml:1, which is edited by hand",
    );
    refused(
        &["pin", "remove", "nobody"],
        2,
        "there is no client nobody in",
    );

    let (code, _, said) = pin(&["pin", "add", "ben", "ben.pem", "--role", "runner"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("`prn server reload --config prn.toml`"),
        "{said}"
    );
    let form = fingerprints(next)[0].to_string();
    assert_eq!(pin(&["pin", "add", "ben", &form]).0, Some(0));
    let (_, listed, _) = pin(&["pin", "list"]);
    assert!(
        listed.contains(&format!("ben runner fingerprint {form}\n")),
        "{listed}"
    );
    let (_, names, _) = pin(&["pin", "list", "-o", "name"]);
    assert_eq!(names, "anna\nben\n");
    let (_, json, _) = pin(&["pin", "list", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["clients"][1]["known_by"][1],
        format!("fingerprint {form}")
    );
    let server = Server::with(Options {
        arguments: vec![
            "--config".to_owned(),
            at.join("prn.toml").display().to_string(),
        ],
        lists_clients: true,
        ..Options::default()
    });
    for client in [ben, next] {
        assert_eq!(ok(&run(&server, client)), "hello\n");
    }
    refused(&["pin", "remove", "ben", "anna.pem"], 2, "is not known by");
    assert_eq!(pin(&["pin", "remove", "ben", "ben.pem"]).0, Some(0));
    refused(
        &["pin", "remove", "ben", &form],
        2,
        "it is all that ben is known by",
    );
    assert_eq!(files(), ["ben.toml"]);
    assert_eq!(pin(&["pin", "remove", "ben"]).0, Some(0));
    assert!(files().is_empty());
}

/// Runs `prn pin` with these words, of the configuration in this folder.
fn pin(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(binary("prn"));
    command
        .arg("pin")
        .args(words)
        .args(["--config", "prn.toml"]);
    command.current_dir(folder).env_clear().output().unwrap()
}

/// Checks that a change is refused for this reason, and that the file is what it was.
#[track_caller]
fn untouched(folder: &Path, words: &[&str], reason: &str) {
    let file = folder.join("clients.d/ben.toml");
    let before = (fs::read(&file).unwrap(), fs::read_link(&file).ok());
    let output = pin(folder, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
    assert!(said.contains(reason), "{words:?}: {said}");
    let after = (fs::read(&file).unwrap(), fs::read_link(&file).ok());
    assert_eq!(after, before, "{words:?}");
    let pems = fs::read_dir(folder.join("clients.d")).unwrap();
    let is_pem = |name: &PathBuf| name.extension().is_some_and(|end| end == "pem");
    assert!(
        !pems
            .map(|entry| entry.unwrap().path())
            .any(|name| is_pem(&name))
    );
}

#[test]
fn a_file_of_clients_that_the_server_would_refuse_is_never_changed_into_one_that_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    Identity::keygen(at, "anna", &[]);
    let next = Identity::keygen(at, "next", &[]);
    fs::write(
        at.join("prn.toml"),
        "[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'admin'\n",
    )
    .unwrap();
    fs::create_dir(at.join("clients.d")).unwrap();
    let file = at.join("clients.d/ben.toml");
    let key = fingerprints(&next)[0].to_string();
    let text = format!("[[client]]\nname = 'ben'\nfingerprint = '{key}'\nrole = 'admin'\n");
    let changes = |reason: &str| {
        untouched(at, &["add", "ben", "next.pem"], reason);
        untouched(at, &["add", "ben", "next.pem", "--role", "viewer"], reason);
        untouched(at, &["remove", "ben"], reason);
    };
    fs::write(&file, &text).unwrap();
    std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
    changes("it is owned by user 12345");
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    changes("others can write it (mode 0666)");
    fs::remove_file(&file).unwrap();
    fs::write(at.join("elsewhere"), &text).unwrap();
    std::os::unix::fs::symlink("../elsewhere", &file).unwrap();
    changes("it is a link");
    fs::remove_file(&file).unwrap();
    fs::write(&file, &text).unwrap();
    assert!(pin(at, &["remove", "ben"]).status.success());
}

#[test]
fn changes_of_who_is_let_in_at_one_time_are_all_made() {
    const CLIENTS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    Identity::keygen(at, "anna", &[]);
    Identity::keygen(at, "same", &[]);
    fs::write(
        at.join("prn.toml"),
        "[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'admin'\n",
    )
    .unwrap();
    let names: Vec<_> = (0..CLIENTS).map(|number| format!("c{number}")).collect();
    let certificates: Vec<_> = names.iter().map(|name| format!("{name}.pem")).collect();
    for name in &names {
        Identity::keygen(at, name, &[]);
    }
    let all_at_once = |words: &(dyn Fn(usize) -> Vec<String> + Sync)| -> Vec<bool> {
        std::thread::scope(|scope| {
            let started: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    scope.spawn(move || {
                        let words = words(number);
                        let words: Vec<_> = words.iter().map(String::as_str).collect();
                        pin(at, &words).status.success()
                    })
                })
                .collect();
            let ended = started.into_iter().map(|one| one.join().unwrap());
            ended.collect()
        })
    };
    let listed = || ok(&pin(at, &["list"])).lines().count();
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    // One client by all of them; of one certificate for all clients, one alone may have it.
    assert!(
        pin(at, &["add", "all", "c0.pem", "--role", "viewer"])
            .status
            .success()
    );
    let done = all_at_once(&|number| own(&["add", "all", &certificates[number]]));
    assert_eq!((done, listed()), (vec![true; CLIENTS], 1 + CLIENTS));
    let done = all_at_once(&|number| own(&["add", &names[number], "same.pem", "--role", "viewer"]));
    let made = done.iter().filter(|is_done| **is_done).count();
    assert_eq!((made, listed()), (1, 2 + CLIENTS));
    // Added while others are removed.
    let done = all_at_once(&|number| match number.checked_sub(1) {
        Some(number) if number % 2 == 0 => own(&["remove", "all", &certificates[number]]),
        Some(_) => own(&["add", "all", "same.pem"]),
        None => own(&["remove", "all", &certificates[7]]),
    });
    let removed = done.iter().filter(|is_done| **is_done).count();
    assert_eq!((removed, listed()), (5, 2 + CLIENTS - 5));
    // Each copy is somebody's.
    let named: String = fs::read_dir(at.join("clients.d"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for entry in fs::read_dir(at.join("clients.d")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.ends_with(".toml") || named.contains(&name), "{name}");
    }
}

#[test]
fn the_first_client_with_a_name_is_not_added_beside_those_without() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    Identity::keygen(at, "anna", &[]);
    Identity::keygen(at, "ben", &[]);
    let config = at.join("prn.toml");
    fs::write(&config, "client-cert = ['anna.pem']\n").unwrap();
    let add = ["add", "ben", "ben.pem", "--role", "viewer"];
    let output = pin(at, &add);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("take that line away"), "{said}");
    assert!(!at.join("clients.d").exists());
    // What it says to do is enough.
    fs::write(&config, output.stdout).unwrap();
    ok(&pin(at, &add));
    let listed = ok(&pin(at, &["list"]));
    assert!(listed.contains("anna admin cert"), "{listed}");
    assert!(listed.contains("ben viewer cert"), "{listed}");
}

/// What a server that shows its issuer as well is known by, beside that.
#[test]
fn a_server_that_shows_its_issuer_is_also_known_by_its_own_certificate_or_key() {
    let made = hierarchy(Authorities::ed25519());
    let leaf = Leaf {
        usage: "serverAuth",
        ..client("web1", "DNS:web1.example,IP:127.0.0.1")
    };
    let identity = made.leaf(leaf, &["middle"]);
    let own = leaf_of(&identity);
    let server = Server::with(Options {
        identity: Some(identity.clone()),
        ..Options::default()
    });
    let prn = |words: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command.args(words).env_clear().env("HOME", made.folder());
        command.env("PRN_CLIENT_CERT", &server.client.certificate);
        command.env("PRN_TLS_KEY_FILE", &server.client.key);
        command.output().unwrap()
    };
    let key = own.key_fingerprints()[0].to_string();
    let address = server.address.as_str();
    ok(&prn(&[
        "list",
        "--address",
        address,
        "--server-fingerprint",
        &key,
    ]));
    let config = made.path("prn.toml");
    let shown = identity.certificate.display();
    fs::write(&config, format!("server-cert = '{shown}'\n")).unwrap();
    let config = config.to_str().unwrap();
    let line = ok(&prn(&[
        "server",
        "invite",
        "--config",
        config,
        "--address",
        address,
    ]));
    ok(&prn(&["context", "add", "web1", line.trim()]));
    ok(&prn(&["list", "--context", "web1"]));
    // Behind the certificate of somebody else it is nobody's.
    let other = fingerprints(&server.client)[0].to_string();
    let output = prn(&["list", "--address", address, "--server-fingerprint", &other]);
    assert_eq!(output.status.code(), Some(NOT_AUTHORISED));
}

#[test]
fn who_is_refused_for_what_it_can_change_is_told_what_that_is() {
    let made = hierarchy(Authorities::ed25519());
    let revoked = made.leaf(client("revoked", "URI:spiffe://prod/ci"), &["middle"]);
    let p256 = Identity::keygen(made.folder(), "p256", &["--p256"]);
    made.revoke("revoked", "middle");
    let crls = format!(
        "client-crl = ['{}', '{}']",
        made.list("middle", &[]).display(),
        made.list("root", &[]).display(),
    );
    let known = format!(
        "[[client]]\nname = 'p'\nfingerprint = '{}'\nrole = 'viewer'\n",
        fingerprints(&p256)[0]
    );
    let server = configured(made.folder(), &(named(&made, &crls) + &known));
    for (identity, part) in [
        (&p256, "--allow-p256"),
        (&revoked, "certificate was revoked"),
    ] {
        let output = lists(&server, identity);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(NOT_AUTHORISED), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_line_of_an_invitation_is_a_context_elsewhere() {
    let server = Server::start();
    let config = server.folder().join("prn.toml");
    let home = tempfile::tempdir().unwrap();
    let prn = |words: &[&str]| {
        let mut command = Command::new(binary("prn"));
        command.args(words);
        command
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap()
    };
    let at = config.to_str().unwrap();
    let invited = |text: &str, more: &[&str]| {
        let certificate = server.identity.certificate.display();
        fs::write(&config, format!("server-cert = '{certificate}'\n{text}")).unwrap();
        prn(&[&["server", "invite", "--config", at], more].concat())
    };
    let address = format!("address = '{}'\n", server.address);
    let line = ok(&invited(&address, &[]));
    let anywhere = "address = '0.0.0.0:50051'\n";
    assert_eq!(
        ok(&invited(anywhere, &["--address", &server.address])),
        line
    );
    for text in ["", anywhere] {
        let output = invited(text, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--address has to name"), "{said}");
    }
    let client = server.client.certificate.to_str().unwrap();
    let key = server.client.key.to_str().unwrap();
    let own = ["--client-cert", client, "--tls-key", key];
    ok(&prn(
        &[&["context", "add", "web1", line.trim()][..], &own].concat()
    ));
    ok(&prn(&["list"]));
}
