//! Builds of prn, and profiles of one build, side by side.
//!
//! Ratios are to the first candidate. `start` is a Start call on a kept connection and the end
//! frame of the process's output, of `/bin/true`; `gib` is one GiB, from the process's first write
//! to its last byte at the client.
#![expect(clippy::unwrap_used, reason = "there is nobody to handle an error")]

use std::process::Command;
use std::time::Instant;

use prn_proto::v1::{Profile, StartRequest};
use prn_tests::client::{self, Client, output_request};
use prn_tests::server::Server;

/// Starts for each measurement.
const STARTS: u32 = 500;

const GIB: u64 = 1 << 30;

/// Names of what is measured, in the order of what a measurement prints.
const MEASURED: [&str; 2] = ["start [us]", "gib [ms]"];

/// Compares candidates, each `LABEL=BIN_DIR[,PROFILE]`.
pub fn compare(rounds: usize, candidates: &[String]) {
    let mut results = vec![vec![Vec::new(); MEASURED.len()]; candidates.len()];
    for _ in 0..rounds {
        for (candidate, results) in candidates.iter().zip(&mut results) {
            let (_, place) = candidate.split_once('=').expect("LABEL=BIN_DIR[,PROFILE]");
            let (folder, profile) = place.split_once(',').unwrap_or((place, "default"));
            let mut child = Command::new(std::env::current_exe().unwrap());
            let output = child
                .args(["measure", profile])
                .env("PRN_BIN_DIR", folder)
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(
                output.status.success(),
                "{text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            for (value, results) in text.split_whitespace().zip(results.iter_mut()) {
                results.push(value.parse::<u64>().unwrap());
            }
        }
    }
    let medians: Vec<Vec<u64>> = results
        .iter_mut()
        .map(|all| all.iter_mut().map(|values| median(values)).collect())
        .collect();
    println!("| {:<16} | {:>16} | {:>16} |", "", MEASURED[0], MEASURED[1]);
    println!("|---|---:|---:|");
    for (candidate, values) in candidates.iter().zip(&medians) {
        let ratio = |place: usize| values[place] as f64 / medians[0][place] as f64;
        let cell = |place: usize| format!("{} ({:.2})", values[place], ratio(place));
        println!(
            "| {:<16} | {:>16} | {:>16} |",
            candidate.split('=').next().unwrap(),
            cell(0),
            cell(1)
        );
    }
}

fn median(values: &mut [u64]) -> u64 {
    values.sort();
    values[values.len() / 2]
}

/// Measures one candidate.
pub fn measure(profile: &str) {
    let mut arguments = vec!["--output-budget", "4G"];
    let profile = match profile {
        "none" => {
            arguments.push("--allow-profile-none");
            Profile::None
        }
        "strict" => Profile::Strict,
        // Builds without profiles do not know the field.
        _ => Profile::Unspecified,
    };
    let server = Server::with_arguments(&arguments);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let truth = StartRequest {
            command: "/bin/true".into(),
            profile: profile.into(),
            ..StartRequest::default()
        };
        for _ in 0..20 {
            run(&mut client, truth.clone()).await;
        }
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let started = Instant::now();
            run(&mut client, truth.clone()).await;
            times.push(u64::try_from(started.elapsed().as_micros()).unwrap());
        }
        let big = StartRequest {
            command: "head".into(),
            args: vec!["-c".into(), GIB.to_string(), "/dev/zero".into()],
            output_max_bytes: 2 * GIB,
            profile: profile.into(),
            ..StartRequest::default()
        };
        let started = Instant::now();
        assert_eq!(run(&mut client, big).await, GIB);
        println!("{} {}", median(&mut times), started.elapsed().as_millis());
    });
}

/// Starts a process and reads its output to the end frame; returns how many bytes it was.
async fn run(client: &mut Client, request: StartRequest) -> u64 {
    let id = client
        .start(request)
        .await
        .unwrap()
        .into_inner()
        .response
        .unwrap()
        .id
        .unwrap()
        .id;
    let mut stream = client
        .get_output(output_request(&id))
        .await
        .unwrap()
        .into_inner();
    let (mut bytes, mut ended) = (0, false);
    while let Some(frame) = stream.message().await.unwrap() {
        bytes += u64::try_from(frame.data.len()).unwrap();
        ended |= frame.end.is_some();
    }
    assert!(ended, "a stream without an end");
    bytes
}
