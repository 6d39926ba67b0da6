//! What the audit costs a start, and what a policy does: two servers, of which one has it, asked in
//! turns.

use std::path::Path;

use anyhow::Context;
use prn_client::StartSpec;
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};

use crate::setup::{Bench, word};
use crate::table::{Series, Summary, Table, percentile};
use crate::{parts, start};

/// Starts of each kind in a round.
const STARTS: usize = 300;

/// Of these, as many more before them: the first ones find everything cold.
const COLD: usize = 20;

/// User ids of each server.
const UIDS: u32 = 1024;

/// What one of the two has.
struct Subject {
    name: &'static str,
    without: &'static str,
    with: &'static str,
    /// For the summary.
    said: &'static str,
}

const AUDIT: Subject = Subject {
    name: "audit",
    without: "Start, without an audit",
    with: "Start, with an audit to a file",
    said: "a Start call with an audit to a file, p50",
};

const POLICY: Subject = Subject {
    name: "policy",
    without: "Start, of a client that may do everything",
    with: "Start, of one whose role has rules and limits",
    said: "a Start call under a role of rules and limits, p50",
};

/// As many clients and rules as a large configuration has: the one that is asked for is the last.
const CLIENTS: usize = 64;
const RULES: usize = 32;

pub fn audit(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    for _ in bench.rounds(AUDIT.name) {
        let folder = tempfile::tempdir_in("/var/lib").context("a folder")?;
        let target = format!("file:{}", folder.path().join("log/audit.jsonl").display());
        let plain = bench.server(&[], UIDS)?;
        let audited = bench.server(&["--audit", &target], UIDS)?;
        let places = [&plain, &audited].map(Server::folder);
        in_turns(&AUDIT, [&plain, &audited], places, &mut series)?;
    }
    report(bench, &AUDIT, &series, summary);
    Ok(())
}

pub fn policy(bench: &Bench, summary: &mut Summary) -> anyhow::Result<()> {
    let mut series = Series::default();
    for _ in bench.rounds(POLICY.name) {
        let folder = tempfile::tempdir().context("a folder")?;
        let config = folder.path().join("prn.toml");
        std::fs::write(&config, configuration(folder.path()))?;
        let plain = bench.server(&[], UIDS)?;
        let ruled = Server::try_with(Options {
            arguments: vec!["--config".to_owned(), word(&config)],
            lists_clients: true,
            uids: Some(UIDS),
            ..Options::default()
        });
        let ruled = ruled.map_err(|refused| anyhow::anyhow!("no server: {}", refused.log))?;
        let own = &ruled.identity.certificate;
        std::fs::copy(own, folder.path().join("server.pem"))?;
        let places = [plain.folder(), folder.path()];
        in_turns(&POLICY, [&plain, &ruled], places, &mut series)?;
    }
    report(bench, &POLICY, &series, summary);
    Ok(())
}

/// Many clients, and one whose role describes what is started by the last of many rules.
fn configuration(folder: &Path) -> String {
    let client = Identity::keygen(folder, "client", &[]);
    let other = |number| {
        let fingerprint = fingerprint_of(number);
        format!("[[client]]\nname = 'a-{number}'\nfingerprint = '{fingerprint}'\nrole = 'viewer'\n")
    };
    let others: String = (0..CLIENTS).map(other).collect();
    let rule = |number| format!("  ['/usr/bin/program-{number}', 'word', '...'],\n");
    let rules: String = (0..RULES).map(rule).collect();
    format!(
        "{others}[[client]]\nname = 'z'\ncert = '{}'\nrole = 'ruled'\n\
         [[role]]\nname = 'ruled'\nmay = ['start', 'stop', 'list', 'output', 'input']\nwhose = 'own'\n\
         programs = [\n{rules}  ['/bin/true'],\n]\nvariables = ['LANG']\n\
         max-memory = '1G'\nmax-cpu = 2\nmax-processes = 900\nmax-output = '64M'\n",
        word(&client.certificate)
    )
}

/// A key's fingerprint that no key has.
fn fingerprint_of(number: usize) -> String {
    // 43 digits of base64, of which the last has four bits of no meaning that are 0.
    format!("SHA256:{number:0>42}A")
}

/// The same starts of both, one after the other. `places` have the clients' files.
fn in_turns(
    subject: &Subject,
    servers: [&Server; 2],
    places: [&Path; 2],
    series: &mut Series,
) -> anyhow::Result<()> {
    let spec = StartSpec::new(["/bin/true"]);
    parts::runtime(0)?.block_on(async {
        let [without, with] = servers;
        let without = parts::connect(&without.address, places[0]).await?;
        let with = parts::connect(&with.address, places[1]).await?;
        let mut times: [Vec<f64>; 2] = Default::default();
        for number in 0..STARTS + COLD {
            for (client, times) in [&without, &with].into_iter().zip(&mut times) {
                let (_, [started, _]) = start::start(client, &spec).await?;
                if number >= COLD {
                    times.push(started);
                }
            }
        }
        for (name, times) in [subject.without, subject.with].into_iter().zip(&mut times) {
            series.add(name, percentile(times, 50).unwrap_or(f64::NAN));
        }
        anyhow::Ok(())
    })
}

fn report(bench: &Bench, subject: &Subject, series: &Series, summary: &mut Summary) {
    let (without, with) = (series.of(subject.without), series.of(subject.with));
    let title = format!("Start of /bin/true: {}, p50 in microseconds", subject.name);
    let mut table = Table::new(&bench.title(&title), &["", "p50", "lowest–highest"]);
    for (name, samples) in [(subject.without, &without), (subject.with, &with)] {
        table.row(&[name.to_owned(), samples.figure(), samples.range()]);
    }
    let ratio = with.over(&without);
    table.print(&format!(
        "With ÷ without, in turns: {} ({}).",
        ratio.figure(),
        ratio.range()
    ));
    let beside = (subject.without, &without);
    summary.compare(subject.said, (&with, "µs"), beside, &ratio);
}
