//! `prn fleet join`: with an invitation that was altered, what it may not have it do; and once
//! more, another key.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prn_tests::authority::{Authorities, Leaf};
use prn_tests::pki::Identity;
use prn_tests::{binary, wait_for};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A host whose server is not running, and a folder elsewhere of whoever makes invitations.
struct Case {
    host: TempDir,
    elsewhere: TempDir,
    authorities: Authorities,
}

const CONFIGURATION: &str = "\
server-cert = \"server.pem\"
tls-key = \"server.key\"
address = \"127.0.0.1:4433\"
fleet = [\"other\"]
[[client]]
name = \"admin\"
cert = \"admin.pem\"
role = \"admin\"
";

impl Case {
    fn new() -> Self {
        let (host, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Identity::keygen(host.path(), "server", &[]);
        Identity::keygen(host.path(), "admin", &[]);
        fs::write(host.path().join("prn.toml"), CONFIGURATION).unwrap();
        let authorities = Authorities::ed25519();
        authorities.authority("ca", None, "CA:TRUE");
        authorities.authority("stranger", None, "CA:TRUE");
        Self {
            host,
            elsewhere,
            authorities,
        }
    }

    fn authority(&self) -> String {
        fs::read_to_string(self.authorities.path("ca.pem")).unwrap()
    }

    /// What `prn fleet invite` makes for this user of etcd, in files of this name.
    fn issued(&self, file: &str, user: &str) -> Identity {
        self.issued_by("ca", file, user, None)
    }

    /// The same by this authority, within these times.
    fn issued_by(
        &self,
        issuer: &str,
        file: &str,
        user: &str,
        period: Option<(&str, &str)>,
    ) -> Identity {
        let leaf = Leaf {
            name: user,
            issuer,
            names: "",
            usage: "clientAuth",
            period,
        };
        let made = self.authorities.leaf(leaf, &[]);
        let own = Identity {
            key: self.elsewhere.path().join(format!("{file}.key")),
            certificate: self.elsewhere.path().join(format!("{file}.pem")),
        };
        // The next one of this user has the same names there.
        fs::copy(made.key, &own.key).unwrap();
        fs::copy(made.certificate, &own.certificate).unwrap();
        own
    }

    /// Of the agent of web1.
    fn agent(&self, file: &str) -> Identity {
        self.issued(file, AGENT)
    }

    fn identity(&self, name: &str) -> Identity {
        Identity::keygen(self.elsewhere.path(), name, &[])
    }

    fn fingerprint(&self, identity: &Identity) -> String {
        let output = Command::new(binary("prn"))
            .args(["keygen", "--show"])
            .arg(&identity.certificate)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words = text.split_whitespace();
        let found = words.find(|word| word.starts_with("SHA256:"));
        found.unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    /// An invitation with these lines first.
    fn invitation(&self, lines: &str, agent: &Identity, submitter: &str) -> PathBuf {
        let path = self.elsewhere.path().join("an.invite");
        let (certificate, key) = (agent.certificate_pem(), agent.key_pem());
        let authority = self.authority();
        let text = format!(
            "{lines}\nstore = [\"127.0.0.1:1\"]\nauthority = '''\n{authority}'''\ncertificate = '''\n{certificate}'''\nkey = '''\n{key}'''\n{submitter}"
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// Its exit code, and what it says on standard error.
    fn join(&self, invitation: &Path) -> (i32, String) {
        let output = Command::new(binary("prn"))
            .args(["fleet", "join"])
            .arg(invitation)
            .arg("--config")
            .arg(self.host.path().join("prn.toml"))
            .env(
                "PRN_CONFIG",
                self.elsewhere.path().join("config/config.toml"),
            )
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.host.path().join(name)).unwrap()
    }

    /// `prn pin` with these words, of this host.
    fn pin(&self, words: &[&str]) -> String {
        let output = Command::new(binary("prn"))
            .arg("pin")
            .args(words)
            .arg("--config")
            .arg(self.host.path().join("prn.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// All that is beside the configuration, and in somebody's own folder, with its content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let own = self.elsewhere.path().join("config");
        let mut folders = vec![self.host.path().to_owned(), own];
        let mut found = BTreeMap::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let content = fs::read(&path).unwrap();
                    found.insert(path, content);
                }
            }
        }
        found
    }

    /// All names beside the configuration, and where somebody's own one would be.
    fn names(&self) -> Vec<PathBuf> {
        let folders = [self.host.path(), self.elsewhere.path()];
        let entries = folders
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }
}

const WEB1: &str = "fleet = 'prod'\nhost = 'web1'";
const AGENT: &str = "prn:prod:agent:web1";
const ANNA: &str = "fleet = 'prod'\nclient = 'anna'";
const CLIENT: &str = "prn:prod:client:anna";

fn submitter(name: &str, fingerprint: &str) -> String {
    format!("[[submitter]]\nname = '{name}'\nfingerprint = '{fingerprint}'\n")
}

#[test]
fn a_strangers_key_does_not_get_an_existing_clients_role() {
    let case = Case::new();
    let (agent, boss) = (case.agent("agent"), case.identity("boss"));
    let stranger = case.fingerprint(&case.identity("stranger"));
    let certificate = boss.certificate.to_str().unwrap();
    case.pin(&["add", "boss", "--role", "admin", certificate]);
    let before = case.text("clients.d/boss.toml");
    for name in ["boss", "admin"] {
        let invitation = case.invitation(WEB1, &agent, &submitter(name, &stranger));
        let (code, said) = case.join(&invitation);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("is there, with the role admin"), "{said}");
        assert_eq!(case.text("clients.d/boss.toml"), before);
        assert_eq!(case.text("prn.toml"), CONFIGURATION);
        assert!(!case.host.path().join("agent.key").exists());
    }
    // With its own key it is let in already, and keeps its role.
    let own = case.fingerprint(&boss);
    let invitation = case.invitation(WEB1, &agent, &submitter("boss", &own));
    let (code, said) = case.join(&invitation);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("keeps its role admin"), "{said}");
    assert!(!said.contains("is let in"), "{said}");
    assert_eq!(case.text("clients.d/boss.toml"), before);
    let agents = case.text("clients.d/prn-agent.toml");
    assert!(agents.contains("may = [\"start\", \"list\"]"), "{agents}");
    let config = case.text("prn.toml");
    assert!(config.contains("fleet = [\"other\", \"prod\"]"), "{config}");
}

#[test]
fn who_takes_part_already_gets_another_certificate_and_key() {
    let case = Case::new();
    let anna = case.fingerprint(&case.identity("anna"));
    let invited =
        |agent: &Identity, lines| case.invitation(lines, agent, &submitter("anna", &anna));
    let (first, second) = (case.agent("first"), case.agent("second"));
    let (code, said) = case.join(&invited(&first, WEB1));
    assert_eq!(code, 0, "{said}");
    let let_in = "anna submits jobs, and is let in: with the role operator";
    assert!(said.contains(let_in), "{said}");
    let toml = case.text("agent.toml");
    let is_of = |agent: &Identity| {
        let files = (case.text("agent.pem"), case.text("agent.key"));
        files == (agent.certificate_pem(), agent.key_pem())
    };
    assert!(is_of(&first));
    for (other, user) in [
        ("fleet = 'prod'\nhost = 'web2'", "prn:prod:agent:web2"),
        ("fleet = 'other'\nhost = 'web1'", "prn:other:agent:web1"),
    ] {
        let (code, said) = case.join(&invited(&case.issued("other", user), other));
        assert!(code == 1 && said.contains("to begin anew"), "{said}");
        assert!(is_of(&first));
    }
    // A second time: it may have been cut off.
    for is_again in [false, true] {
        let (code, said) = case.join(&invited(&second, WEB1));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("systemctl restart prn-agent"), "{said}");
        assert_eq!(said.contains("by its earlier one no longer"), !is_again);
        assert!(is_of(&second));
        assert_eq!(case.text("agent.toml"), toml);
    }
    // A key that somebody else has put in its place is not touched.
    let own = toml.replace("agent.key", "another.key");
    fs::write(case.host.path().join("agent.toml"), &own).unwrap();
    let (code, said) = case.join(&invited(&first, WEB1));
    assert_eq!(code, 1, "{said}");
    assert!(is_of(&second));
}

#[test]
fn who_submits_jobs_already_gets_another_certificate_and_key() {
    let case = Case::new();
    let own = case.elsewhere.path().join("config");
    let text = |name: &str| fs::read_to_string(own.join("fleets/prod").join(name)).unwrap();
    let config = || fs::read_to_string(own.join("config.toml")).unwrap();
    let mut before = None;
    for name in ["first", "second"] {
        let identity = case.issued(name, CLIENT);
        let (code, said) = case.join(&case.invitation(ANNA, &identity, ""));
        assert_eq!(code, 0, "{said}");
        assert_eq!(text("client.pem"), identity.certificate_pem());
        assert_eq!(text("client.key"), identity.key_pem());
        if let Some(before) = before {
            assert_eq!(config(), before);
            let hosts = format!("prn pin add anna {}", case.fingerprint(&identity));
            assert!(said.contains(&hosts), "{said}");
        }
        before = Some(config());
    }
}

/// Whom the host has removed, or knows by another key, is the operator's matter there.
#[test]
fn who_takes_part_already_lets_nobody_else_in_once_more() {
    let case = Case::new();
    let print = |name: &str| case.fingerprint(&case.identity(name));
    let (removed, old, new) = (print("removed"), print("old"), print("new"));
    let (known, late) = (print("known"), print("late"));
    let first = [("removed", &removed), ("anna", &old), ("known", &known)];
    let submitters = first.map(|(name, print)| submitter(name, print)).concat();
    let (code, said) = case.join(&case.invitation(WEB1, &case.agent("first"), &submitters));
    assert_eq!(code, 0, "{said}");
    for (name, _) in first {
        assert!(
            said.contains(&format!("{name} submits jobs, and is let in")),
            "{said}"
        );
    }
    case.pin(&["remove", "removed"]);
    let before = case.pin(&["list"]);
    let second = case.agent("second");
    let now = [
        ("removed", &removed),
        ("anna", &new),
        ("known", &known),
        ("late", &late),
    ];
    let submitters = now.map(|(name, print)| submitter(name, print)).concat();
    let (code, said) = case.join(&case.invitation(WEB1, &second, &submitters));
    assert_eq!(code, 0, "{said}");
    assert_eq!(case.text("agent.key"), second.key_pem());
    let others = |list: &str| -> Vec<_> {
        let lines = list.lines().filter(|line| !line.contains("prn-agent"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(others(&case.pin(&["list"])), others(&before));
    assert!(
        !said.contains("is let in") && !said.contains("add known"),
        "{said}"
    );
    for line in [
        format!("`prn pin add removed {removed} --role operator`"),
        format!("`prn pin add late {late} --role operator`"),
        // A client that is there keeps its role, and `prn pin add` takes no other: it may be a
        // stranger's key.
        format!(
            "this one would get that role: if both are the same one's, `prn pin add anna {new}`"
        ),
    ] {
        assert!(said.contains(&line), "{line}: {said}");
    }
}

#[test]
fn a_certificate_that_would_not_do_replaces_none_and_nothing_is_written() {
    for (line, user, other) in [
        (WEB1, AGENT, "prn:prod:agent:web2"),
        (ANNA, CLIENT, "prn:prod:client:root"),
    ] {
        let case = Case::new();
        let within = |file: &str, period| case.issued_by("ca", file, user, Some(period));
        let ended = within("ended", ("20200101000000Z", "20210101000000Z"));
        let early = within("early", ("20480101000000Z", "20491231235959Z"));
        let long = within("long", ("20200101000000Z", "20490101000000Z"));
        let longer = within("longer", ("20200101000000Z", "20490102000000Z"));
        let strange = case.issued_by("stranger", "strange", user, None);
        let another = case.issued("another", other);
        let not_signed = "the authority in it has not signed its certificate";
        let bad = [
            (&ended, "in it is valid from Jan  1 00:00:00 2020"),
            (&early, "in it is valid from Jan  1 00:00:00 2048"),
            (&strange, not_signed),
            (&case.identity("alone"), not_signed),
            (&another, "the certificate in it is of another name"),
        ];
        let refuses = |identity: &Identity, why: &str| {
            let before = case.files();
            let (code, said) = case.join(&case.invitation(line, identity, ""));
            assert_eq!(code, 1, "{why}: {said}");
            assert!(said.contains(why), "{why}: {said}");
            assert!(said.contains("prn fleet invite"), "{why}: {said}");
            assert_eq!(case.files(), before, "{why}");
        };
        let joins = |identity: &Identity| {
            let (code, said) = case.join(&case.invitation(line, identity, ""));
            assert_eq!(code, 0, "{said}");
        };
        bad.iter()
            .for_each(|(identity, why)| refuses(identity, why));
        joins(&long);
        bad.iter()
            .for_each(|(identity, why)| refuses(identity, why));
        // Of two days.
        refuses(
            &case.issued("short", user),
            "earlier than the one that is there",
        );
        joins(&long);
        joins(&longer);
        refuses(&long, "earlier than the one that is there");
    }
}

#[test]
fn an_agent_that_joins_anew_is_known_by_its_new_key_alone() {
    let case = Case::new();
    for name in ["first", "second"] {
        let agent = case.agent(name);
        let (code, said) = case.join(&case.invitation(WEB1, &agent, ""));
        assert_eq!(code, 0, "{said}");
        assert_eq!(
            said.contains("by its earlier one no longer"),
            name == "second",
            "{said}"
        );
        let listed = case.pin(&["list", "-o", "json"]);
        // The administrator's, and one of the agent's.
        assert_eq!(listed.matches("cert ").count(), 2, "{listed}");
        for name in ["agent.toml", "agent.pem", "agent.key", "agent-store.pem"] {
            fs::remove_file(case.host.path().join(name)).unwrap();
        }
    }
    // One that somebody else has given that name is not touched.
    let file = "clients.d/prn-agent.toml";
    let given = case
        .text(file)
        .replace("role = \"fleet-agent\"", "role = \"runner\"");
    fs::write(case.host.path().join(file), &given).unwrap();
    let (code, said) = case.join(&case.invitation(WEB1, &case.agent("third"), ""));
    assert_eq!((code, case.text(file)), (2, given), "{said}");
}

#[test]
fn what_is_no_name_no_key_and_no_certificate_is_refused_and_nothing_is_written() {
    let case = Case::new();
    let (agent, other) = (case.agent("agent"), case.identity("other"));
    let print = case.fingerprint(&other);
    let path = other.certificate.display().to_string();
    let mixed = Identity {
        key: other.key.clone(),
        ..agent.clone()
    };
    let none = case.elsewhere.path().join("none.pem");
    fs::write(&none, "server-cert = 'x'\n").unwrap();
    let no_key = Identity {
        key: none.clone(),
        ..agent.clone()
    };
    let no_certificate = Identity {
        certificate: none,
        ..agent.clone()
    };
    case.invitation(WEB1, &agent, "");
    let before = case.names();
    let [name, key] = ["a name in it is none", "the key in it is none"];
    let certificate = "the certificate in it is none";
    let (print, path) = (submitter("../x", &print), submitter("x", &path));
    let cases = [
        ("fleet = '../prod'\nhost = 'web1'", &agent, "", name),
        ("fleet = 'prod'\nhost = '../web1'", &agent, "", name),
        ("fleet = '../../x'\nclient = 'anna'", &agent, "", name),
        ("fleet = 'prod'\nclient = '/x'", &agent, "", name),
        (WEB1, &agent, &print, name),
        (
            WEB1,
            &agent,
            &path,
            "the fingerprint of a key in it is none",
        ),
        (WEB1, &mixed, "", "the key in it is not the certificate's"),
        (WEB1, &no_key, "", key),
        (WEB1, &no_certificate, "", certificate),
    ];
    for (lines, agent, submitter, why) in cases {
        let (code, said) = case.join(&case.invitation(lines, agent, submitter));
        assert_eq!(code, 1, "{lines} {submitter}: {said}");
        let why = format!("{why}: not an invitation");
        assert!(said.contains(&why), "{lines} {submitter}: {said}");
        assert_eq!(case.names(), before, "{lines} {submitter}");
        assert_eq!(case.text("prn.toml"), CONFIGURATION);
    }
}

#[test]
fn a_configuration_that_the_server_would_not_take_stays_as_it_is() {
    let case = Case::new();
    let broken = CONFIGURATION.replace("role = \"admin\"", "role = \"nobody\"");
    fs::write(case.host.path().join("prn.toml"), &broken).unwrap();
    let (code, said) = case.join(&case.invitation(WEB1, &case.agent("agent"), ""));
    assert_ne!(code, 0, "{said}");
    assert_eq!(case.text("prn.toml"), broken);
    assert!(!case.host.path().join("agent.toml").exists());
}

#[test]
fn an_agent_says_that_its_certificate_ends_soon() {
    let case = Case::new();
    let ca = case.elsewhere.path().join("ca.pem");
    fs::write(&ca, case.authority()).unwrap();
    // Of a long time, of which the last tenth is left.
    let at = |days| {
        let at = OffsetDateTime::now_utc() + time::Duration::days(days);
        at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
    };
    let days = ["--not-before", &at(-200), "--not-after", &at(13)];
    let agent = Identity::keygen(case.elsewhere.path(), "agent", &days);
    let said = case.elsewhere.path().join("said");
    let mut agent = Command::new(binary("prn-agent"))
        .args([
            "--fleet",
            "prod",
            "--host",
            "web1",
            "--store",
            "127.0.0.1:1",
        ])
        .arg("--store-ca")
        .arg(&ca)
        .arg("--client-cert")
        .arg(&agent.certificate)
        .arg("--tls-key")
        .arg(&agent.key)
        .arg("--server-cert")
        .arg(case.host.path().join("server.pem"))
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let is_said = || {
        fs::read_to_string(&said)
            .unwrap()
            .contains("ends in 12 days")
    };
    wait_for("a warning", is_said);
    agent.kill().unwrap();
    agent.wait().unwrap();
}
