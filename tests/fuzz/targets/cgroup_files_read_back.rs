//! What is written to a cgroup's files reads back as the same values, what the kernel writes reads
//! as what it means, and any other text is read without panic and at a bounded cost. A process that
//! chooses its own name cannot lie about its state, nor put a control character into a log (S11).
#![no_main]

use std::fmt::Write;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use prn_fuzz::bounded;
use prn_ipc_protocol::kernel;
use prn_ipc_protocol::message::FileText;
use prn_ipc_protocol::types::LimitName;

#[derive(Debug, Arbitrary)]
enum Case<'a> {
    Cpu(u64),
    Quota {
        quota: Option<u64>,
        period: u64,
    },
    Number(Option<u64>),
    IoMax(Vec<Disk>),
    IoStat(Vec<(u32, u32, u64, u64)>),
    Keyed(Vec<(Key, u64)>, Key),
    Files(Vec<(Key, &'a str)>, Key),
    Stat {
        pid: u32,
        name: &'a [u8],
        state: u8,
        rest: u64,
    },
    Text {
        text: &'a str,
        key: &'a str,
    },
    Bytes(&'a [u8]),
}

/// Its numbers, and what may be read and written.
type Disk = (u32, u32, Option<u64>, Option<u64>);

/// Keys of which some are the beginnings of others.
#[derive(Debug, Clone, Copy, PartialEq, Arbitrary)]
enum Key {
    Oom,
    OomKill,
    OomGroupKill,
    Max,
    Populated,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::OomKill => "oom_kill",
            Self::OomGroupKill => "oom_group_kill",
            Self::Max => "max",
            Self::Populated => "populated",
        }
    }
}

/// As the kernel shows a limit.
fn or_max(value: Option<u64>) -> String {
    value.map_or_else(|| "max".to_owned(), |value| value.to_string())
}

fuzz_target!(|case: Case| {
    match case {
        Case::Cpu(millis) => {
            let Ok(millis) = LimitName::Cpu.check(millis) else {
                return;
            };
            // As the supervisor writes it (a period of 100 ms), and as the kernel shows that.
            let written = format!("{} 100000", millis * 100);
            assert_eq!(kernel::cpu_max(&written), Some(millis));
            assert_eq!(kernel::cpu_max(&format!("{written}\n")), Some(millis));
        }
        Case::Quota { quota, period } => {
            let read = kernel::cpu_max(&format!("{} {period}\n", or_max(quota)));
            let share =
                quota.and_then(|quota| (u128::from(quota) * 1000).checked_div(period.into()));
            // A quota of more than half a million years is not one that the kernel shows.
            let right = quota.is_none_or(|quota| quota.checked_mul(1000).is_some());
            assert_eq!(read.map(u128::from), share.filter(|_| right));
        }
        Case::Number(value) => {
            assert_eq!(kernel::number(&or_max(value)), value);
            assert_eq!(kernel::number(&format!("{}\n", or_max(value))), value);
        }
        Case::IoMax(disks) => {
            // The kernel shows a disk that has a limit, each of its four values.
            let mut text = String::new();
            for (major, minor, read, write) in &disks {
                let (read, write) = (or_max(*read), or_max(*write));
                writeln!(
                    text,
                    "{major}:{minor} rbps={read} wbps={write} riops=max wiops=7"
                )
                .expect("a string");
            }
            assert_eq!(
                kernel::io_max(&text, "rbps"),
                disks.iter().filter_map(|disk| disk.2).min()
            );
            assert_eq!(
                kernel::io_max(&text, "wbps"),
                disks.iter().filter_map(|disk| disk.3).min()
            );
        }
        Case::IoStat(disks) => {
            let mut text = String::new();
            for (major, minor, read, written) in &disks {
                writeln!(
                    text,
                    "{major}:{minor} rbytes={read} wbytes={written} rios=1 wios=1 dbytes=7 dios=0"
                )
                .expect("a string");
            }
            let sum = |column: fn(&(u32, u32, u64, u64)) -> u64| {
                disks.iter().map(column).fold(0, u64::saturating_add)
            };
            assert_eq!(kernel::io_stat(&text, "rbytes"), sum(|disk| disk.2));
            assert_eq!(kernel::io_stat(&text, "wbytes"), sum(|disk| disk.3));
        }
        Case::Keyed(lines, wanted) => {
            let text: String = lines
                .iter()
                .map(|(key, value)| format!("{} {value}\n", key.name()))
                .collect();
            let first = lines
                .iter()
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| *value);
            assert_eq!(kernel::keyed(&text, wanted.name()), first);
        }
        Case::Files(files, wanted) => {
            let named: Vec<_> = files
                .iter()
                .map(|(key, text)| FileText {
                    name: key.name().to_owned(),
                    text: (*text).to_owned(),
                })
                .collect();
            let first = files
                .iter()
                .find(|(key, _)| *key == wanted)
                .map(|(_, text)| *text);
            assert_eq!(kernel::find(&named, wanted.name()), first);
        }
        Case::Stat {
            pid,
            name,
            state,
            rest,
        } => {
            // What follows the name in the file is numbers and the state's letter, so the last
            // parenthesis is the name's.
            let state = b'A' + state % 58;
            let stat = [
                format!("{pid} (").as_bytes(),
                name,
                b") ",
                &[state],
                format!(" {rest} 0").as_bytes(),
            ]
            .concat();
            let (shown, letter) = kernel::stuck_task(&stat).expect("a well-formed file");
            assert_eq!(
                (shown.as_str(), letter),
                (&*name.escape_ascii().to_string(), char::from(state))
            );
            assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        Case::Text { text, key } => bounded(text.len(), 8, || {
            kernel::cpu_max(text);
            kernel::io_max(text, key);
            kernel::io_stat(text, key);
            kernel::keyed(text, key);
            kernel::number(text);
        }),
        Case::Bytes(bytes) => {
            // An escaped byte has four characters, and a string grows by doubling.
            if let Some((shown, _)) = bounded(bytes.len(), 16, || kernel::stuck_task(bytes)) {
                assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
});
