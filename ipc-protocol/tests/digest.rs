//! Of two different starts no canonical bytes are the same, and each field counts.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;

use prn_ipc_protocol::digest::canonical;
use prn_ipc_protocol::message::*;
use prn_ipc_protocol::types::*;
use proptest::prelude::*;

fn spec() -> StartSpec {
    StartSpec {
        id: ProcessId::from_bytes([1; 16]),
        process: ProcessSpec {
            argv: vec![c"a".into()].try_into().unwrap(),
            working_directory: None,
            limits: Limits::default(),
            best_effort_limits: false,
            input: Input::Nothing,
            output: Keeping {
                max: 65_536,
                overflow: Overflow::DropOldest,
                store: OutputStore::Memory,
            },
            timeout: None,
            stop_grace: 1.try_into().unwrap(),
            linger: false,
            profile: Profile::Default,
            user: None,
            paths: Paths::default(),
            workspace: None,
            name: None,
            labels: Labels::default(),
            deadline: None,
            lease: None,
            retention: Retention::default(),
        },
        variables: Vec::new(),
        expect: None,
        signature: None,
        requested: None,
    }
}

fn digest(spec: &StartSpec) -> Digest {
    Digest::of(&canonical(spec, &Limits::default(), &[]))
}

/// Each changes one thing. The compiler does not say which is missing: the list of fields in
/// `digest.rs` does, and there is a change here for each line of docs/digest.md.
#[test]
fn each_field_counts_but_the_id_and_what_is_expected() {
    let millis = |value: u64| Some(value.try_into().unwrap());
    let changes: Vec<fn(&mut ProcessSpec)> = vec![
        |p| p.argv = vec![c"b".into()].try_into().unwrap(),
        |p| p.argv = vec![c"a".into(), c"".into()].try_into().unwrap(),
        |p| p.working_directory = Some(c"/".into()),
        |p| p.best_effort_limits = true,
        |p| p.input = Input::Pipe,
        |p| {
            p.input = Input::Terminal(TerminalSize {
                rows: 1,
                columns: 11,
            })
        },
        |p| {
            p.input = Input::Terminal(TerminalSize {
                rows: 11,
                columns: 1,
            })
        },
        |p| p.output.max += 1,
        |p| p.output.overflow = Overflow::Wait,
        |p| p.output.overflow = Overflow::Kill,
        |p| p.output.overflow = Overflow::Follow(1.try_into().unwrap()),
        |p| p.output.overflow = Overflow::Follow(2.try_into().unwrap()),
        |p| p.output.store = OutputStore::Disk,
        |p| p.stop_grace = 2.try_into().unwrap(),
        |p| p.linger = true,
        |p| p.profile = Profile::Strict,
        |p| p.profile = Profile::None,
        |p| p.user = Some("w".to_owned().try_into().unwrap()),
        |p| p.paths = vec![PathRule::Hidden(c"/a".into())].try_into().unwrap(),
        |p| p.paths = vec![PathRule::ReadOnly(c"/a".into())].try_into().unwrap(),
        |p| p.workspace = Some("w".to_owned().try_into().unwrap()),
        |p| p.name = Some("w".to_owned().try_into().unwrap()),
        |p| {
            let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
            p.labels = labels.try_into().unwrap();
        },
        |p| p.deadline = Some(UnixMicros(1)),
        |p| p.retention.is_kept = true,
        |p| p.retention.until_read = true,
    ];
    let mut all = BTreeSet::from([digest(&spec()).to_string()]);
    for (place, change) in changes.iter().enumerate() {
        let mut changed = spec();
        change(&mut changed.process);
        assert!(all.insert(digest(&changed).to_string()), "change {place}");
    }
    let mut timed = [spec(), spec(), spec()];
    timed[0].process.timeout = millis(1);
    timed[1].process.lease = millis(1);
    timed[2].process.retention.max_age = millis(1);
    let mut variables = [spec(), spec()];
    variables[0].variables = vec![c"A=b".into()];
    variables[1].variables = vec![c"LANG=C".into()];
    for changed in timed.iter().chain(&variables) {
        assert!(all.insert(digest(changed).to_string()), "{changed:?}");
    }
    let limits: Limits = [(LimitName::Cpu, 1)].into_iter().collect();
    let resolved = [
        canonical(&spec(), &limits, &[]),
        canonical(&spec(), &Limits::default(), &[c"/bin/a".into()]),
    ];
    for bytes in resolved {
        assert!(all.insert(Digest::of(&bytes).to_string()));
    }
    let mut same = spec();
    same.id = ProcessId::from_bytes([2; 16]);
    same.expect = Some(digest(&spec()));
    assert_eq!(digest(&same), digest(&spec()));
}

/// Strings that look like the form itself.
fn string() -> impl Strategy<Value = CString> {
    "[a1:* \n/-]{0,6}".prop_map(|text| CString::new(text).unwrap())
}

type Parts = (Vec<CString>, Vec<CString>, Vec<CString>, Option<CString>);

fn bytes_of((argv, variables, programs, directory): &Parts) -> Vec<u8> {
    let mut spec = spec();
    let argv = [vec![c"a".to_owned()], argv.clone()].concat();
    spec.process.argv = argv.try_into().unwrap();
    spec.process.working_directory = directory.clone();
    spec.variables = variables.clone();
    canonical(&spec, &Limits::default(), programs)
}

proptest! {
    #[test]
    fn two_starts_have_the_same_bytes_if_they_are_the_same_alone(
        one in (
            prop::collection::vec(string(), 0..4),
            prop::collection::vec(string(), 0..4),
            prop::collection::vec(string(), 0..4),
            prop::option::of(string()),
        ),
        part in 0..4_usize,
        from in 0..4_usize,
        to in 0..4_usize,
    ) {
        // Something moves from where it was to somewhere else, or out.
        let mut other = one.clone();
        let lists = [&mut other.0, &mut other.1, &mut other.2];
        let mut taken = None;
        for (place, list) in lists.into_iter().enumerate() {
            if place == part && from < list.len() {
                taken = Some(list.remove(from));
            } else if place == to && let Some(taken) = taken.take() {
                list.push(taken);
            }
        }
        if part == 3 {
            other.3 = other.1.first().cloned();
        }
        prop_assert_eq!(bytes_of(&one) == bytes_of(&other), one == other);
    }
}
