//! Who is let in, and whom a client talks to: checks T1 to T19. Hostile peers stand at both ends,
//! and each refusal is checked for its reason, because a peer can be refused for a reason that is
//! not the one under test.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prn_proto::tls::{self, Certificate, Key, TlsError, WrongServer};
use prn_proto::v1::ListRequest;
use prn_tests::hostile::{self, Curious, HostileServer, Obstinate, Seen, handshake, shown, signer};
use prn_tests::pki::{Identity, ed25519, write_private};
use prn_tests::server::{Options, Server};
use prn_tests::{binary, wait_for};
use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, CertificateError, Error, HandshakeKind, SignatureScheme};
use tempfile::TempDir;

/// Exit code of `prn` when one side does not accept the other.
const NOT_AUTHORISED: i32 = 4;
/// Exit code of `prn run`, whose other codes are those of its process.
const RUN_FAILED: i32 = 125;

#[test]
fn t1_a_tls_1_2_client_gets_a_protocol_version_alert_and_no_http() {
    let server = Server::start();
    let s_client = |version: &str| {
        let output = Command::new("openssl")
            .args([
                "s_client",
                version,
                "-alpn",
                "h2",
                "-msg",
                "-connect",
                &server.address,
                "-cert",
            ])
            .arg(&server.client.certificate)
            .arg("-key")
            .arg(&server.client.key)
            .stdin(Stdio::null())
            .output()
            .expect("openssl, which this test needs");
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        )
    };
    let messages = s_client("-tls1_2");
    let answers: Vec<&str> = messages
        .lines()
        .filter(|line| line.starts_with("<<<") && !line.contains("RecordHeader"))
        .collect();
    assert_eq!(answers.len(), 1, "{messages}");
    assert!(
        answers[0].contains("Alert") && answers[0].contains("fatal protocol_version"),
        "{messages}"
    );
    let messages = s_client("-tls1_3");
    assert!(
        messages.contains("ALPN protocol: h2") && messages.contains("<<< TLS 1.3, Handshake"),
        "{messages}"
    );
}

#[test]
fn t1_the_client_offers_tls_1_3_alone_and_refuses_a_server_that_answers_with_1_2() {
    let folder = folder();
    let (client, server) = (identity(&folder, "client"), identity(&folder, "server"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut header = [0; 5];
        socket.read_exact(&mut header).unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        socket.read_exact(&mut hello).unwrap();
        // ServerHello of TLS 1.2: the version, a random value, the client's own session id and
        // cipher suite, no compression, no extension (RFC 5246, section 7.4.1.3).
        let session = &hello[39..39 + usize::from(hello[38])];
        let suite = &hello[41 + session.len()..][..2];
        let body = [&[3, 3][..], &[7; 32], &hello[38..=38], session, suite, &[0]].concat();
        let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
        socket
            .write_all(&[&[22, 3, 3, 0, message.len() as u8][..], &message].concat())
            .unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        (hello, answer)
    });
    let output = prn(&address, &client, &server.certificate, &["list"]);
    let (hello, answer) = peer.join().unwrap();
    // supported_versions: one version, TLS 1.3 (RFC 8446, section 4.2.1).
    assert!(
        hello
            .windows(7)
            .any(|bytes| bytes == [0, 43, 0, 3, 2, 3, 4]),
        "{hello:02x?}"
    );
    assert_eq!(
        &answer[..],
        [21, 3, 3, 0, 2, 2, 70],
        "one alert, protocol_version, and nothing else"
    );
    refused(&output, None, &[&address]);
}

#[test]
fn t2_without_a_client_certificate_nothing_reaches_the_service() {
    let server = Server::start();
    assert_refused(
        &connect(&server, None),
        AlertDescription::CertificateRequired,
    );
    assert_served(&connect(&server, Some(shown(&server.client))));
    assert_eq!(processes(&server), 0);
}

#[test]
fn t2_a_client_that_is_not_let_in_is_told_so() {
    let server = Server::start();
    let stranger = Identity::keygen(server.folder(), "stranger", &[]);
    let calls = [
        (&["list"][..], NOT_AUTHORISED),
        (&["start", "true"], NOT_AUTHORISED),
        (&["run", "true"], RUN_FAILED),
    ];
    for (words, code) in calls {
        let output = server.prn_as(&stranger, words).output().unwrap();
        refused(&output, Some(code), &["not authorised"]);
    }
    assert_eq!(processes(&server), 0);
}

#[test]
fn t3_a_lookalike_of_a_pinned_client_is_refused() {
    let folder = folder();
    let [pinned, lookalike] = lookalikes(&folder);
    let server = Server::with(Options {
        pins: vec![pinned.certificate.clone()],
        ..Options::default()
    });
    assert_served(&connect(&server, Some(shown(&pinned))));
    assert_refused(
        &connect(&server, Some(shown(&lookalike))),
        AlertDescription::AccessDenied,
    );
    refused(
        &server.prn_as(&lookalike, &["list"]).output().unwrap(),
        Some(NOT_AUTHORISED),
        &["not authorised"],
    );
}

#[test]
fn t3_a_lookalike_of_the_pinned_server_is_refused() {
    let folder = folder();
    let [pinned, lookalike] = lookalikes(&folder);
    let client = identity(&folder, "client");
    let output = against(
        hostile::server_config(shown(&pinned)),
        &client,
        &pinned,
        Sees::Application,
    );
    assert!(
        !output.status.success(),
        "the hostile server serves nothing"
    );
    let alert = Sees::Alert(AlertDescription::CertificateUnknown);
    let output = against(
        hostile::server_config(shown(&lookalike)),
        &client,
        &pinned,
        alert,
    );
    refused(
        &output,
        Some(NOT_AUTHORISED),
        &[&fingerprint(&lookalike), &fingerprint(&pinned)],
    );
}

#[test]
fn t3_a_clients_pinned_certificate_with_another_one_behind_it_is_refused() {
    let server = Server::start();
    let other = Identity::keygen(server.folder(), "other", &[]);
    let chain = |first: &Identity| {
        CertifiedKey::new(
            vec![hostile::der(first), hostile::der(&other)],
            signer(first),
        )
    };
    assert_refused(
        &connect(&server, Some(chain(&server.client))),
        AlertDescription::UnknownCA,
    );
}

#[test]
fn t3_a_server_is_not_known_by_what_stands_behind_its_certificate() {
    let server = Server::start();
    let other = Identity::keygen(server.folder(), "other", &[]);
    let behind = vec![hostile::der(&other), hostile::der(&server.identity)];
    let config = hostile::server_config(CertifiedKey::new(behind, signer(&other)));
    let output = against(
        config,
        &server.client,
        &server.identity,
        Sees::Alert(AlertDescription::CertificateUnknown),
    );
    refused(
        &output,
        Some(NOT_AUTHORISED),
        &[&fingerprint(&other), &fingerprint(&server.identity)],
    );
}

#[test]
fn the_log_names_the_certificate_and_the_address_of_a_client_that_is_refused() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let stranger = Identity::keygen(folder.path(), "stranger", &[]);
    let fingerprint = |identity: &Identity| {
        let certificate = Certificate::from_pem(identity.certificate_pem().as_bytes());
        certificate.unwrap().fingerprint().to_string()
    };
    let logged = |words: &[&str]| {
        wait_for("a line", || {
            let log = server.log();
            let mut lines = log.lines();
            lines.any(|line| words.iter().all(|word| line.contains(word)))
        });
    };
    let from = "connection refused: ";
    let peer = " peer=\"127.0.0.1:";
    assert!(
        !server
            .prn_as(&stranger, &["list"])
            .output()
            .unwrap()
            .status
            .success()
    );
    logged(&[from, peer, &fingerprint(&stranger), "is not pinned"]);

    // A pinned certificate whose key somebody else does not have.
    let stolen = CertifiedKey::new(vec![hostile::der(&server.client)], signer(&stranger));
    connect(&server, Some(stolen));
    logged(&[from, peer, &fingerprint(&server.client), "BadSignature"]);

    // Without a certificate there is an address and a reason.
    connect(&server, None);
    logged(&[from, peer, "peer sent no certificates"]);

    // Nobody can fill the log, or hide a stranger behind those who show nothing.
    let before = server.log().lines().count();
    for _ in 0..200 {
        connect(&server, None);
    }
    assert!(server.log().lines().count() < before + 100);
    let other = Identity::keygen(folder.path(), "other", &[]);
    server.prn_as(&other, &["list"]).output().unwrap();
    logged(&[from, &fingerprint(&other), "is not pinned"]);
}

#[test]
fn t4_a_pinned_client_certificate_with_another_key_is_refused() {
    let server = Server::start();
    let thief = Identity::keygen(server.folder(), "thief", &[]);
    let stolen = CertifiedKey::new(vec![hostile::der(&server.client)], signer(&thief));
    assert_refused(
        &connect(&server, Some(stolen)),
        AlertDescription::DecryptError,
    );
    assert_served(&connect(&server, Some(shown(&server.client))));
}

#[test]
fn t4_the_pinned_server_certificate_with_another_key_is_refused() {
    let folder = folder();
    let (client, server, thief) = (
        identity(&folder, "client"),
        identity(&folder, "server"),
        identity(&folder, "thief"),
    );
    let stolen = CertifiedKey::new(vec![hostile::der(&server)], signer(&thief));
    let alert = Sees::Alert(AlertDescription::DecryptError);
    let output = against(hostile::server_config(stolen), &client, &server, alert);
    refused(&output, Some(NOT_AUTHORISED), &["BadSignature"]);
}

#[test]
fn t5_both_sides_offer_ed25519_signatures_alone() {
    let server = Server::start();
    let (config, curious) = Curious::client(shown(&server.client));
    assert_served(&hostile::connect(&server.address, &Arc::new(config)));
    assert_eq!(*curious.offered.lock().unwrap(), [SignatureScheme::ED25519]);

    let (config, curious) = Curious::server(shown(&server.identity));
    against(config, &server.client, &server.identity, Sees::Application);
    assert_eq!(*curious.offered.lock().unwrap(), [SignatureScheme::ED25519]);
}

#[test]
fn t5_a_signature_of_another_scheme_is_refused() {
    let server = Server::start();
    let params = CertificateParams::new(Vec::new()).unwrap();
    let ecdsa = Identity::custom(server.folder(), "ecdsa", params, &p256());
    let key = || {
        Arc::new(Obstinate {
            key: signer(&ecdsa),
            scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
        })
    };
    let with_key = |identity| CertifiedKey::new(vec![hostile::der(identity)], key());

    // It is one that was not offered (RFC 8446, section 4.4.3).
    assert_refused(
        &connect(&server, Some(with_key(&server.client))),
        AlertDescription::IllegalParameter,
    );
    let config = hostile::server_config(with_key(&server.identity));
    let alert = Sees::Alert(AlertDescription::IllegalParameter);
    refused(
        &against(config, &server.client, &server.identity, alert),
        None,
        &[],
    );
    // And with a certificate of its own it is nobody.
    let own = CertifiedKey::new(vec![hostile::der(&ecdsa)], key());
    assert_refused(&connect(&server, Some(own)), AlertDescription::AccessDenied);
}

#[test]
fn t6_a_certificate_is_valid_from_its_first_to_its_last_second_and_not_one_second_longer() {
    let folder = folder();
    let honest = identity(&folder, "honest");
    let (from, until) = (1_800_000_000, 1_800_003_600);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    (params.not_before, params.not_after) = (time(from), time(until));
    let limited = Identity::custom(folder.path(), "limited", params, &ed25519());
    let at = |now| Arc::new(Clock(now)) as Arc<dyn TimeProvider>;
    // The honest one's period is around today: only the other end's clock is moved.
    let client_is_limited = |now| {
        let mut server = server_config(&honest, &[&limited]);
        server.time_provider = at(now);
        handshake(hostile::client_config(Some(shown(&limited))), server)
    };
    let server_is_limited = |now| {
        let mut client = prn_tests::client::tls_config(&honest, &limited).unwrap();
        client.time_provider = at(now);
        handshake(client, hostile::server_config(shown(&limited)))
    };
    let check = |now| certificate(&limited).check_validity(Duration::from_secs(now));
    for now in [from, from + 1, until - 1, until] {
        assert_eq!(client_is_limited(now), Ok(()));
        assert_eq!(server_is_limited(now), Ok(()));
        assert!(check(now).is_ok());
    }
    let instant = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let early = CertificateError::NotValidYetContext {
        time: instant(from - 1),
        not_before: instant(from),
    };
    let late = CertificateError::ExpiredContext {
        time: instant(until + 1),
        not_after: instant(until),
    };
    for (now, error) in [(from - 1, early), (until + 1, late)] {
        assert_eq!(
            client_is_limited(now),
            Err(Error::InvalidCertificate(error.clone()))
        );
        assert_eq!(
            server_is_limited(now),
            Err(Error::InvalidCertificate(error))
        );
        assert!(matches!(check(now), Err(TlsError::NotValidNow { .. })));
    }
}

#[test]
fn t6_a_pinned_client_outside_its_period_is_refused() {
    let folder = folder();
    let [expired, early] = out_of_period(&folder);
    let pins = vec![expired.certificate.clone(), early.certificate.clone()];
    let server = Server::with(Options {
        pins,
        ..Options::default()
    });
    for bad in [&expired, &early] {
        assert_refused(
            &connect(&server, Some(shown(bad))),
            AlertDescription::CertificateExpired,
        );
        let warning = format!(
            "the client certificate {} is valid from",
            bad.certificate.display()
        );
        assert!(server.log().contains(&warning), "{}", server.log());
    }
    assert_served(&connect(&server, Some(shown(&server.client))));
}

#[test]
fn t6_certificates_outside_their_period_are_named_before_anything_is_sent() {
    let folder = folder();
    let good = identity(&folder, "good");
    for bad in out_of_period(&folder) {
        let named = [bad.certificate.to_str().unwrap(), "it is valid from"];
        refused(
            &client_start(&bad, &good.certificate),
            Some(NOT_AUTHORISED),
            &named,
        );
        refused(
            &client_start(&good, &bad.certificate),
            Some(NOT_AUTHORISED),
            &named,
        );
        refused(&server_start(&bad, &[&good.certificate]), Some(1), &named);
    }
}

#[test]
fn t7_a_key_of_another_certificate_is_refused_before_anything_listens_or_connects() {
    let folder = folder();
    let (one, other) = (identity(&folder, "one"), identity(&folder, "other"));
    let mixed = one.with_key(&other.key);
    let reason = [
        "the private key does not belong to the certificate",
        &fingerprint(&one),
    ];
    for output in [
        server_start(&mixed, &[&other.certificate]),
        client_start(&mixed, &other.certificate),
    ] {
        refused(&output, None, &reason);
        assert_silent(&output, &key_windows(&other));
    }
}

#[test]
fn t8_a_certificate_that_cannot_be_used_is_refused_and_its_file_is_named() {
    let folder = folder();
    let good = identity(&folder, "good");
    let params = || CertificateParams::new(vec!["prn".to_owned()]).unwrap();
    let der = certificate(&good).der().to_vec();
    let ecdsa = Identity::custom(folder.path(), "p256", params(), &p256()).certificate_pem();
    let mut usage = params();
    usage.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let usage = Identity::custom(folder.path(), "usage", usage, &ed25519()).certificate_pem();
    openssl(
        &folder,
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=rsa -keyout rsa.key -out rsa.made",
    );
    let rsa = fs::read_to_string(folder.path().join("rsa.made")).unwrap();
    let cases: [(&str, String, &str); 9] = [
        (
            "version1",
            pem(&version_1(&der)),
            "not an X.509 version 3 certificate",
        ),
        (
            "trailing",
            pem(&[&der[..], &[0]].concat()),
            "bytes follow the certificate's DER",
        ),
        (
            "two",
            good.certificate_pem().repeat(2),
            "but has CERTIFICATE and CERTIFICATE",
        ),
        ("rsa", rsa, "its key is not Ed25519"),
        (
            "no-signatures",
            usage,
            "its key usage does not allow signatures",
        ),
        ("garbage", pem(b"garbage"), "not a valid X.509 certificate"),
        (
            "truncated",
            pem(&der[..der.len() - 1]),
            "not a valid X.509 certificate",
        ),
        (
            "no-pem",
            "garbage\n".to_owned(),
            "no \"-----BEGIN CERTIFICATE-----\" section in it",
        ),
        (
            "key-beside",
            format!("{}{}", good.certificate_pem(), good.key_pem()),
            "but has CERTIFICATE and PRIVATE KEY",
        ),
    ];
    for (name, text, reason) in &cases {
        let path = folder.path().join(format!("{name}.bad.pem"));
        fs::write(&path, text).unwrap();
        let bad = Identity {
            key: good.key.clone(),
            certificate: path.clone(),
        };
        let named = [path.to_str().unwrap(), reason];
        for output in [
            server_start(&good, &[&good.certificate, &path]),
            server_start(&bad, &[&good.certificate]),
            client_start(&good, &path),
            client_start(&bad, &good.certificate),
        ] {
            refused(&output, None, &named);
            assert_silent(&output, &key_windows(&good));
        }
    }
    // A client takes P-256 of a server that it has pinned; a server has to be told to.
    let path = folder.path().join("ecdsa.bad.pem");
    fs::write(&path, &ecdsa).unwrap();
    let bad = Identity {
        key: good.key.clone(),
        certificate: path.clone(),
    };
    for output in [
        server_start(&good, &[&good.certificate, &path]),
        server_start(&bad, &[&good.certificate]),
    ] {
        let named = [path.to_str().unwrap(), "its key is not Ed25519 but P-256"];
        refused(&output, None, &named);
    }
    let missing = folder.path().join("missing.pem");
    refused(
        &server_start(&good, &[&missing]),
        None,
        &[missing.to_str().unwrap(), "No such file"],
    );
}

#[test]
fn t8_what_openssl_req_makes_by_itself_is_accepted() {
    let folder = folder();
    openssl(
        &folder,
        "req -x509 -newkey ed25519 -nodes -subj /CN=plain -keyout plain.key -out plain.pem",
    );
    let plain = Identity {
        key: folder.path().join("plain.key"),
        certificate: folder.path().join("plain.pem"),
    };
    let text = openssl(&folder, "x509 -noout -text -in plain.pem");
    assert!(
        text.contains("CA:TRUE") && !text.contains("Subject Alternative Name"),
        "{text}"
    );
    let server = Server::with(Options {
        pins: vec![plain.certificate.clone()],
        ..Options::default()
    });
    let output = server
        .prn_as(&plain, &["run", "--", "echo", "hello"])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"hello\n"[..])
    );
    // As a server's it is taken too: the client sends its requests to it.
    against(
        hostile::server_config(shown(&plain)),
        &server.client,
        &plain,
        Sees::Application,
    );
}

#[test]
fn t9_no_pins_let_nobody_in_and_double_ones_are_no_error() {
    let folder = folder();
    let good = identity(&folder, "good");
    let (certificate, key) = (
        certificate(&good),
        Key::from_pem(good.key_pem().as_bytes()).unwrap(),
    );
    assert!(matches!(
        tls::server_config(&certificate, &key, Vec::new()),
        Err(TlsError::NoPins)
    ));
    refused(&server_start(&good, &[]), None, &["client"]);

    let pins = vec![good.certificate.clone(), good.certificate.clone()];
    let server = Server::with(Options {
        pins,
        ..Options::default()
    });
    let output = server.prn_as(&good, &["list"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn t10_a_key_that_cannot_be_used_is_refused_and_never_shown() {
    let folder = folder();
    let good = identity(&folder, "good");
    openssl(&folder, "genrsa -traditional -out pkcs1.key 2048");
    openssl(&folder, "genpkey -algorithm rsa -out rsa.key");
    openssl(
        &folder,
        "genpkey -algorithm ed25519 -aes256 -pass pass:secret -out encrypted.key",
    );
    openssl(&folder, "genpkey -algorithm ed448 -out ed448.key");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let cases = [
        ("empty", String::new(), "is empty"),
        ("blank", "\n \n".to_owned(), "is empty"),
        (
            "pkcs1",
            read("pkcs1.key"),
            "it must hold one PRIVATE KEY and nothing else, but has RSA PRIVATE KEY",
        ),
        (
            "rsa",
            read("rsa.key"),
            "not an Ed25519 private key in PKCS#8 form",
        ),
        (
            "encrypted",
            read("encrypted.key"),
            "but has ENCRYPTED PRIVATE KEY",
        ),
        (
            "ed448",
            read("ed448.key"),
            "not an Ed25519 private key in PKCS#8 form",
        ),
        (
            "two",
            good.key_pem().repeat(2),
            "but has PRIVATE KEY and PRIVATE KEY",
        ),
        (
            "no-pem",
            good.key_pem().lines().nth(1).unwrap().to_owned(),
            "section in it",
        ),
        (
            "cut",
            good.key_pem().replace("-----END PRIVATE KEY-----", ""),
            "section in it",
        ),
    ];
    for (name, text, reason) in &cases {
        let file = folder.path().join(format!("{name}.bad.key"));
        write_private(&file, text);
        let bad = good.with_key(&file);
        let windows: Vec<String> = body(text)
            .as_bytes()
            .windows(8)
            .map(|w| String::from_utf8_lossy(w).into())
            .collect();
        for output in [
            server_start(&bad, &[&good.certificate]),
            client_start(&bad, &good.certificate),
        ] {
            refused(&output, None, &["PRN_TLS_KEY", reason]);
            assert_silent(&output, &windows);
        }
        for output in [
            server_start_with(&good, &file),
            client_start_with(&good, &file),
        ] {
            refused(&output, None, &[file.to_str().unwrap(), reason]);
            assert_silent(&output, &windows);
        }
    }
}

#[test]
fn t10_a_key_file_that_others_can_read_is_refused() {
    let folder = folder();
    let good = identity(&folder, "good");
    for mode in [0o644, 0o640, 0o604, 0o660, 0o620] {
        fs::set_permissions(&good.key, fs::Permissions::from_mode(mode)).unwrap();
        for output in [
            server_start_with(&good, &good.key),
            client_start_with(&good, &good.key),
        ] {
            refused(
                &output,
                None,
                &[
                    good.key.to_str().unwrap(),
                    &format!("is open to others (mode {mode:04o})"),
                ],
            );
            assert_silent(&output, &key_windows(&good));
        }
    }
}

#[test]
fn t11_no_session_can_be_resumed() {
    let server = Server::start();
    let config = Arc::new(hostile::client_config(Some(shown(&server.client))));
    for _ in 0..2 {
        let seen = hostile::connect(&server.address, &config);
        assert_served(&seen);
        assert_eq!((seen.tickets, seen.kind), (0, Some(HandshakeKind::Full)));
    }

    // A ticket from elsewhere, of a server with the very same certificate and key, opens nothing.
    let mut generous = hostile::server_config(shown(&server.identity));
    generous.send_tls13_tickets = 1;
    generous.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let generous = Arc::new(generous);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let generous = Arc::clone(&generous);
        let peer = std::thread::spawn(move || {
            let mut connection = rustls::ServerConnection::new(generous).unwrap();
            let mut socket = listener.accept().unwrap().0;
            rustls::Stream::new(&mut connection, &mut socket)
                .write_all(b"served")
                .unwrap();
            drop(socket.read(&mut [0; 4096]));
        });
        let seen = hostile::connect(&address, &config);
        peer.join().unwrap();
        assert_eq!(
            (seen.tickets, seen.kind),
            (1, Some(kind)),
            "this client does resume where it can"
        );
    }
    let seen = hostile::connect(&server.address, &config);
    assert_served(&seen);
    assert_eq!((seen.tickets, seen.kind), (0, Some(HandshakeKind::Full)));
}

#[test]
fn t12_a_pin_that_is_removed_opens_nothing_even_with_a_cached_session() {
    let folder = folder();
    let removed = identity(&folder, "removed");
    let mut server = Server::with(Options {
        pins: vec![removed.certificate.clone()],
        ..Options::default()
    });
    // Keeps whatever a server gives it to come back with.
    let config = Arc::new(hostile::client_config(Some(shown(&removed))));
    assert_served(&hostile::connect(&server.address, &config));
    assert_eq!(server.stop(), Some(0));

    let same = Server::with(Options {
        identity: Some(server.identity.clone()),
        ..Options::default()
    });
    assert_served(&connect(&same, Some(shown(&same.client))));
    assert_refused(
        &hostile::connect(&same.address, &config),
        AlertDescription::AccessDenied,
    );
}

#[test]
fn t13_whoever_does_not_speak_http_2_is_closed_without_http() {
    let server = Server::start();
    let with_protocols = |protocols: &[&[u8]]| {
        let mut config = hostile::client_config(Some(shown(&server.client)));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        hostile::connect(&server.address, &Arc::new(config))
    };
    assert_refused(
        &with_protocols(&[b"http/1.1"]),
        AlertDescription::NoApplicationProtocol,
    );
    assert_refused(
        &with_protocols(&[b"grpc-exp", b"http/1.0"]),
        AlertDescription::NoApplicationProtocol,
    );
    let silent = with_protocols(&[]);
    assert_eq!(silent.received, b"", "no HTTP without ALPN");
    wait_for("the reason in the log", || {
        server.log().contains("does not speak HTTP/2 (ALPN)")
    });
    assert_served(&with_protocols(&[b"http/1.1", b"h2"]));

    // Without TLS: an alert at most, which is 7 bytes.
    for opening in [
        hostile::PREFACE,
        b"GET / HTTP/1.1\r\nHost: prn\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut socket = std::net::TcpStream::connect(&server.address).unwrap();
        socket
            .set_read_timeout(Some(prn_tests::deadline()))
            .unwrap();
        socket.write_all(opening).unwrap();
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        assert!(
            answer.is_empty() || (answer[0] == 21 && answer.len() == 7),
            "{answer:02x?}"
        );
    }
}

#[test]
fn t13_a_server_that_does_not_speak_http_2_gets_no_byte() {
    let folder = folder();
    let (client, server) = (identity(&folder, "client"), identity(&folder, "server"));
    let config = |protocols: &[&[u8]]| {
        let mut config = hostile::server_config(shown(&server));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    };
    refused(
        &against(config(&[]), &client, &server, Sees::Close),
        None,
        &["does not speak HTTP/2"],
    );
    let output = against(
        config(&[b"http/1.1"]),
        &client,
        &server,
        Sees::Own(Error::NoApplicationProtocol),
    );
    refused(&output, None, &["NoApplicationProtocol"]);
}

#[test]
fn t14_a_pin_with_any_bit_flipped_is_another_certificate() {
    let folder = folder();
    let (pinned, honest) = (identity(&folder, "pinned"), identity(&folder, "honest"));
    let server = server_config(&honest, &[&pinned]);
    let client = prn_tests::client::tls_config(&honest, &pinned).unwrap();
    let shows = |der: Vec<u8>| CertifiedKey::new(vec![CertificateDer::from(der)], signer(&pinned));
    let both = |der: &[u8]| {
        [
            handshake(
                hostile::client_config(Some(shows(der.to_vec()))),
                server.clone(),
            ),
            handshake(client.clone(), hostile::server_config(shows(der.to_vec()))),
        ]
    };
    let der = certificate(&pinned).der().to_vec();
    assert_eq!(both(&der), [Ok(()), Ok(())]);
    for bit in 0..der.len() * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let [of_client, of_server] = both(&flipped);
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        assert_eq!(of_client, Err(refused), "bit {bit}");
        let Err(Error::InvalidCertificate(CertificateError::Other(wrong))) = of_server else {
            panic!("bit {bit}: {of_server:?}");
        };
        assert!(wrong.0.is::<WrongServer>(), "bit {bit}: {wrong:?}");
    }
    for other in [&der[..der.len() - 1], &[&der[..], &[0]].concat(), &[]] {
        assert!(
            both(other).iter().all(Result::is_err),
            "{} bytes",
            other.len()
        );
    }
}

#[test]
fn t15_no_key_log_is_written() {
    let folder = folder();
    let log = folder.path().join("keys.log");
    // Writable for whoever would write it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let variable = format!("SSLKEYLOGFILE={}", log.display());
    let server = Server::with(Options {
        wrapper: vec!["env".to_owned(), variable],
        ..Options::default()
    });
    let output = server
        .prn(&["run", "--", "echo", "hello"])
        .env("SSLKEYLOGFILE", &log)
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"hello\n"[..])
    );
    assert!(!log.exists());
}

#[test]
fn t16_the_servers_key_is_nowhere_to_be_read() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "env; tr '\\0' ' ' < /proc/self/cmdline; exec sleep 1000",
        ],
    );
    let windows = key_windows(&server.identity);
    let raw = &key_seed(&server.identity);
    let holds_key = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        windows.iter().any(|window| text.contains(window.as_str()))
            || raw
                .windows(8)
                .any(|window| bytes.windows(8).any(|other| other == window))
    };
    assert!(
        holds_key(server.identity.key_pem().as_bytes()),
        "the search finds it where it is"
    );

    let mut searched = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        for name in ["environ", "cmdline"] {
            // A process may end meanwhile.
            let Ok(bytes) = fs::read(entry.path().join(name)) else {
                continue;
            };
            assert!(!holds_key(&bytes), "/proc/{pid}/{name}");
            searched.push((pid, name));
        }
    }
    for pid in [server.supervisor(), server.frontend()] {
        assert!(
            searched.contains(&(pid, "environ")) && searched.contains(&(pid, "cmdline")),
            "{pid}"
        );
    }
    assert!(!holds_key(
        server.ok(&["logs", &id, "--no-follow"]).as_bytes()
    ));
    assert!(!holds_key(
        server.ok(&["status", &id, "-o", "json"]).as_bytes()
    ));
    assert!(!holds_key(server.log().as_bytes()));

    // A process's own user sees nothing of either half.
    for pid in [server.supervisor(), server.frontend()] {
        for name in ["environ", "mem", "fd"] {
            let path = format!("/proc/{pid}/{name}");
            let output = server.run(&[
                "run",
                "--",
                "sh",
                "-c",
                "cat \"$0\" 2>&1 || ls \"$0/\"",
                &path,
            ]);
            let said = [&output.stdout[..], &output.stderr].concat();
            assert!(!output.status.success(), "{path}");
            // It is not even to be seen.
            assert!(
                String::from_utf8_lossy(&said).contains("No such file"),
                "{}",
                String::from_utf8_lossy(&said)
            );
        }
    }
}

#[test]
fn t18_a_handshake_that_takes_too_long_is_dropped_however_it_goes_on() {
    let timeout = Duration::from_secs(2);
    let server = Server::with_arguments(&["--handshake-timeout", "2s"]);
    let config = Arc::new(hostile::client_config(Some(shown(&server.client))));
    let name = || rustls::pki_types::ServerName::try_from("prn.invalid").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::clone(&config), name()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    assert!(hello.len() > 100, "{}", hello.len());

    // A byte at a time: each is progress, and none is a reason to wait longer.
    let mut dribbling = std::net::TcpStream::connect(&server.address).unwrap();
    // All but the client's own certificate and signature, and then nothing.
    let mut withheld = std::net::TcpStream::connect(&server.address).unwrap();
    withheld.write_all(&hello).unwrap();
    let since = std::time::Instant::now();
    let mut sent = hello.chunks(1);
    dribbling
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    wait_for("the dribbling one to be dropped", || {
        let Some(byte) = sent.next() else {
            panic!("it may send its whole ClientHello")
        };
        if dribbling.write_all(byte).is_err() {
            return true;
        }
        match dribbling.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("an answer to a part of a ClientHello"),
            Err(error) => ![ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()),
        }
    });
    assert!(since.elapsed() > timeout / 2, "dropped for another reason");
    withheld
        .set_read_timeout(Some(prn_tests::deadline()))
        .unwrap();
    let mut answer = Vec::new();
    if let Err(error) = withheld.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert!(
        answer.len() > 100,
        "the server's part of the handshake: {} bytes",
        answer.len()
    );
    wait_for("both in the log", || {
        server
            .log()
            .matches("the handshake took longer than 2s")
            .count()
            == 2
    });
    assert!(server.log().contains("(--handshake-timeout)"));
    assert_served(&hostile::connect(&server.address, &config));
}

#[test]
fn t19_a_server_that_is_not_the_pinned_one_gets_no_byte_and_both_fingerprints_are_named() {
    let server = Server::start();
    let other = Identity::keygen(server.folder(), "other", &[]);
    // The real server, and another one's certificate pinned.
    let output = prn(
        &server.address,
        &server.client,
        &other.certificate,
        &["list"],
    );
    refused(
        &output,
        Some(NOT_AUTHORISED),
        &[
            &fingerprint(&server.identity),
            &fingerprint(&other),
            &server.address,
        ],
    );

    let calls = [
        (&["list"][..], NOT_AUTHORISED),
        (&["start", "true"], NOT_AUTHORISED),
        (&["run", "true"], RUN_FAILED),
    ];
    for (words, code) in calls {
        let hostile = HostileServer::start(hostile::server_config(shown(&other)));
        let output = prn(
            &hostile.address,
            &server.client,
            &server.identity.certificate,
            words,
        );
        refused(
            &output,
            Some(code),
            &[&fingerprint(&server.identity), &fingerprint(&other)],
        );
        for seen in hostile.finish() {
            assert_eq!(seen.received, b"");
            assert_eq!(
                seen.error,
                Some(Error::AlertReceived(AlertDescription::CertificateUnknown))
            );
        }
    }
}

/// Connects to a server as a hostile client.
fn connect(server: &Server, shown: Option<CertifiedKey>) -> Seen {
    hostile::connect(&server.address, &Arc::new(hostile::client_config(shown)))
}

#[track_caller]
fn assert_served(seen: &Seen) {
    assert_eq!(seen.error, None);
    // An HTTP/2 server begins with SETTINGS: frame type 4, stream 0.
    assert!(
        seen.received.len() >= 9 && seen.received[3] == 4,
        "{:02x?}",
        seen.received
    );
}

#[track_caller]
fn assert_refused(seen: &Seen, alert: AlertDescription) {
    assert_eq!(seen.error, Some(Error::AlertReceived(alert)));
    assert_eq!(seen.received, b"", "no application byte");
}

/// How many processes a server knows.
fn processes(server: &Server) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = prn_tests::client::connect(server).await.unwrap();
        client
            .list(ListRequest::default())
            .await
            .unwrap()
            .into_inner()
            .processes
            .len()
    })
}

/// What a hostile server sees of `prn`.
enum Sees {
    /// The start of HTTP/2.
    Application,
    /// This alert and no application byte.
    Alert(AlertDescription),
    /// The connection closed without an error, and no application byte.
    Close,
    /// An error that it found itself, and no application byte.
    Own(Error),
}

/// Runs `prn list` with `pinned` against a hostile server.
#[track_caller]
fn against(
    config: rustls::ServerConfig,
    client: &Identity,
    pinned: &Identity,
    sees: Sees,
) -> Output {
    let hostile = HostileServer::start(config);
    let output = prn(&hostile.address, client, &pinned.certificate, &["list"]);
    for seen in hostile.finish() {
        let error = match &sees {
            Sees::Application => {
                assert_eq!(seen.error, None);
                assert!(seen.received.starts_with(b"PRI * HTTP/2.0"), "{seen:?}");
                continue;
            }
            Sees::Alert(alert) => Some(Error::AlertReceived(*alert)),
            Sees::Close => None,
            Sees::Own(error) => Some(error.clone()),
        };
        assert_eq!(seen.error, error);
        assert_eq!(seen.received, b"", "no application byte");
    }
    output
}

/// `prn` as a client.
fn prn_command(address: &str, client: &Identity, server: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary("prn"));
    command
        .args(words)
        .env("PRN_ADDRESS", address)
        .env("PRN_CLIENT_CERT", &client.certificate)
        .env("PRN_SERVER_CERT", server)
        .env("PRN_TLS_KEY", client.key_pem())
        .stdin(Stdio::null());
    command
}

fn prn(address: &str, client: &Identity, server: &Path, words: &[&str]) -> Output {
    prn_command(address, client, server, words)
        .output()
        .unwrap()
}

/// `prn list`, which must not connect.
#[track_caller]
fn client_start(client: &Identity, server: &Path) -> Output {
    without_connecting(|address| prn_command(address, client, server, &["list"]))
}

/// The same with the key in a file.
#[track_caller]
fn client_start_with(client: &Identity, key: &Path) -> Output {
    without_connecting(|address| {
        in_file(
            key,
            prn_command(address, client, &client.certificate, &["list"]),
        )
    })
}

#[track_caller]
fn without_connecting(command: impl FnOnce(&str) -> Command) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let output = command(&listener.local_addr().unwrap().to_string())
        .output()
        .unwrap();
    assert_eq!(
        listener.accept().map(drop).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "it has connected"
    );
    output
}

fn server_command(address: &str, identity: &Identity, pins: &[&Path]) -> Command {
    let mut command = Command::new(binary("prn"));
    command.args(["server", "start", "--allow-missing-limits", "--instance"]);
    command.arg(format!("prn-test-{}-refused", std::process::id()));
    command
        .args(["--address", address, "--server-cert"])
        .arg(&identity.certificate);
    for pin in pins {
        command.arg("--client-cert").arg(pin);
    }
    command
        .arg("--state-dir")
        .arg(identity.certificate.with_file_name("state"));
    command
        .env("PRN_TLS_KEY", identity.key_pem())
        .stdin(Stdio::null());
    command
}

/// `prn server start`, which must not get as far as binding its address.
#[track_caller]
fn server_start(identity: &Identity, pins: &[&Path]) -> Output {
    without_binding(identity, |address| server_command(address, identity, pins))
}

/// The same with the key in a file.
#[track_caller]
fn server_start_with(identity: &Identity, key: &Path) -> Output {
    without_binding(identity, |address| {
        in_file(
            key,
            server_command(address, identity, &[&identity.certificate]),
        )
    })
}

/// The address is taken, so whoever binds it fails with another error than the one that is checked
/// for.
#[track_caller]
fn without_binding(identity: &Identity, command: impl FnOnce(&str) -> Command) -> Output {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = command(&taken.local_addr().unwrap().to_string())
        .output()
        .unwrap();
    assert!(
        !identity.certificate.with_file_name("state").exists(),
        "it has made its state folder"
    );
    output
}

fn in_file(key: &Path, mut command: Command) -> Command {
    command.env_remove("PRN_TLS_KEY").arg("--tls-key").arg(key);
    command
}

/// Checks that a command failed, with nothing on standard output and all of `words` in its one line
/// of error.
#[track_caller]
fn refused(output: &Output, code: Option<i32>, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{}: {error}",
        output.status
    );
    if code.is_some() {
        assert_eq!(output.status.code(), code, "{error}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in: {error}");
    }
}

/// Checks that a command showed none of these.
#[track_caller]
fn assert_silent(output: &Output, secrets: &[String]) {
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream);
        for secret in secrets {
            assert!(!text.contains(secret.as_str()), "{secret} in: {text}");
        }
    }
}

/// Two certificates that differ in nothing but the key.
fn lookalikes(folder: &TempDir) -> [Identity; 2] {
    ["pinned", "lookalike"].map(|file| {
        let mut params = CertificateParams::new(vec!["prn.example".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "the same");
        params.serial_number = Some(SerialNumber::from(42));
        params.not_before = time(now() - 3600);
        params.not_after = time(now() + 36_000);
        Identity::custom(folder.path(), file, params, &ed25519())
    })
}

/// Certificates that ended an hour ago and that begin in an hour.
fn out_of_period(folder: &TempDir) -> [Identity; 2] {
    let hours = |from: i64, until: i64| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = time(now().checked_add_signed(from * 3600).unwrap());
        params.not_after = time(now().checked_add_signed(until * 3600).unwrap());
        params
    };
    [("expired", hours(-2, -1)), ("early", hours(1, 2))]
        .map(|(name, params)| Identity::custom(folder.path(), name, params, &ed25519()))
}

fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("prn-test-")
        .tempdir()
        .unwrap()
}

fn identity(folder: &TempDir, name: &str) -> Identity {
    Identity::keygen(folder.path(), name, &[])
}

fn certificate(identity: &Identity) -> Certificate {
    Certificate::from_pem(identity.certificate_pem().as_bytes()).unwrap()
}

fn fingerprint(identity: &Identity) -> String {
    certificate(identity).fingerprint().to_string()
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// prn's own configuration of a server.
fn server_config(identity: &Identity, pins: &[&Identity]) -> rustls::ServerConfig {
    let key = Key::from_pem(identity.key_pem().as_bytes()).unwrap();
    tls::server_config(
        certificate(identity),
        &key,
        pins.iter().map(|pin| certificate(pin)).collect::<Vec<_>>(),
    )
    .unwrap()
}

/// A clock that stands still, in seconds since the Unix epoch.
#[derive(Debug)]
struct Clock(u64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// An instant as rcgen takes it.
fn time(seconds: u64) -> time::OffsetDateTime {
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
}

/// Runs openssl in a folder.
fn openssl(folder: &TempDir, words: &str) -> String {
    let output = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(folder)
        .output();
    let output = output.expect("openssl, which this test needs");
    assert!(
        output.status.success(),
        "openssl {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// DER as a certificate's PEM text.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text: String = der
        .chunks(3)
        .flat_map(|chunk| {
            let number = (0..3).fold(0, |sum, i| {
                sum << 8 | usize::from(chunk.get(i).copied().unwrap_or(0))
            });
            (0..4).map(move |i| {
                if i <= chunk.len() {
                    char::from(DIGITS[number >> (18 - 6 * i) & 63])
                } else {
                    '='
                }
            })
        })
        .collect();
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// What stands between the first and the last line of PEM text, or all of it.
fn body(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with("-----"))
        .collect()
}

/// The certificate as one of version 1: without the version and the extensions (RFC 5280, section
/// 4.1). Its own signature is then wrong, which nobody looks at.
fn version_1(der: &[u8]) -> Vec<u8> {
    let [certificate] = &elements(der)[..] else {
        panic!("one element")
    };
    let [signed, algorithm, signature] = &elements(content(certificate))[..] else {
        panic!("three elements")
    };
    let fields: Vec<&[u8]> = elements(content(signed))
        .into_iter()
        .filter(|field| ![0xa0, 0xa3].contains(&field[0]))
        .collect();
    assert_eq!(
        fields.len(),
        6,
        "serial, signature, issuer, validity, subject, key"
    );
    sequence(&[&sequence(&fields.concat())[..], algorithm, signature].concat())
}

/// The elements in DER, each with its header.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (element, rest) = der.split_at(header(der) + length(der));
        found.push(element);
        der = rest;
    }
    found
}

fn content(element: &[u8]) -> &[u8] {
    &element[header(element)..]
}

fn header(element: &[u8]) -> usize {
    2 + usize::from(element[1] & 0x7f) * usize::from(element[1] >> 7)
}

fn length(element: &[u8]) -> usize {
    if element[1] < 0x80 {
        return usize::from(element[1]);
    }
    element[2..header(element)]
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match content.len() {
        0..0x80 => vec![0x30, low],
        0x80..0x100 => vec![0x30, 0x81, low],
        _ => vec![0x30, 0x82, high, low],
    };
    [header, content.to_vec()].concat()
}

/// The secret part of an Ed25519 key: 32 bytes after the 16 of PKCS#8's header (RFC 8410, section
/// 7).
fn key_seed(identity: &Identity) -> Vec<u8> {
    let der = Key::from_pem(identity.key_pem().as_bytes())
        .unwrap()
        .pkcs8_der()
        .unwrap()
        .to_vec();
    assert_eq!(der[12..16], [4, 34, 4, 32]);
    der[16..48].to_vec()
}

/// Every piece of 8 secret bytes or characters of a key, as its PEM text and as hexadecimal digits
/// have them.
fn key_windows(identity: &Identity) -> Vec<String> {
    let seed = key_seed(identity);
    // Characters 22 to 63 of base64 encode bytes 16 to 47.
    let text = body(&identity.key_pem());
    let base64 = text.as_bytes()[22..64]
        .windows(8)
        .map(|window| String::from_utf8(window.to_vec()).unwrap());
    let hex = |window: &[u8]| {
        window
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    base64.chain(seed.windows(8).map(hex)).collect()
}
