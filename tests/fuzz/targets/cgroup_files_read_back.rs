//! What is written to a cgroup's files reads back as the same values, what the kernel writes reads as what it means, and
//! any other text is read without panic and at a bounded cost. A process that chooses its own name cannot lie about its
//! state, nor put a control character into a log (S11).
#![no_main]

#[path = "../../../supervisor/src/cgroup/files.rs"]
#[allow(dead_code)]
mod files;

use std::fmt::Write;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use prn_fuzz::bounded;
use prn_ipc_protocol::types::{BytesPerSecond, CpuMillis};

#[derive(Debug, Arbitrary)]
enum Case<'a> {
    Cpu(u64),
    IoMax(Vec<Disk>),
    IoStat(Vec<(u32, u32, u64, u64)>),
    Keyed(Vec<(Key, u64)>, Key),
    Stat { pid: u32, name: &'a [u8], state: u8, rest: u64 },
    Text { text: &'a str, key: &'a str },
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

fuzz_target!(|case: Case| {
    match case {
        Case::Cpu(millis) => {
            let Ok(cpu) = CpuMillis::try_from(millis) else { return };
            assert_eq!(files::parse_cpu_max(&files::cpu_max(cpu)), Some(cpu));
            assert_eq!(files::parse_cpu_max(&format!("{}\n", files::cpu_max(cpu))), Some(cpu));
        }
        Case::IoMax(disks) => {
            let rate = |bytes: Option<u64>| bytes.and_then(|bytes| BytesPerSecond::try_from(bytes).ok());
            let mut text = String::new();
            for (major, minor, read, write) in &disks {
                writeln!(text, "{}", files::io_max((*major, *minor), rate(*read), rate(*write))).expect("a string");
            }
            let least = |column: fn(&Disk) -> Option<u64>| {
                disks.iter().filter_map(|disk| rate(column(disk))).map(BytesPerSecond::value).min()
            };
            assert_eq!(files::parse_io_max(&text, "rbps"), least(|disk| disk.2));
            assert_eq!(files::parse_io_max(&text, "wbps"), least(|disk| disk.3));
        }
        Case::IoStat(disks) => {
            let mut text = String::new();
            for (major, minor, read, written) in &disks {
                writeln!(text, "{major}:{minor} rbytes={read} wbytes={written} rios=1 wios=1 dbytes=7 dios=0")
                    .expect("a string");
            }
            let sum = |column: fn(&(u32, u32, u64, u64)) -> u64| disks.iter().map(column).fold(0, u64::saturating_add);
            assert_eq!(files::io_stat(&text, "rbytes"), sum(|disk| disk.2));
            assert_eq!(files::io_stat(&text, "wbytes"), sum(|disk| disk.3));
        }
        Case::Keyed(lines, wanted) => {
            let text: String = lines.iter().map(|(key, value)| format!("{} {value}\n", key.name())).collect();
            let first = lines.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
            assert_eq!(files::keyed(&text, wanted.name()), first);
        }
        Case::Stat { pid, name, state, rest } => {
            // What follows the name in the file is numbers and the state's letter, so the last parenthesis is the name's.
            let state = b'A' + state % 58;
            let stat = [format!("{pid} (").as_bytes(), name, b") ", &[state], format!(" {rest} 0").as_bytes()].concat();
            let task = files::stuck_task(&stat).expect("a well-formed file");
            assert_eq!((task.name.as_str(), task.state), (&*name.escape_ascii().to_string(), char::from(state)));
            assert!(task.name.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        Case::Text { text, key } => bounded(text.len(), 8, || {
            files::parse_cpu_max(text);
            files::parse_io_max(text, key);
            files::io_stat(text, key);
            files::keyed(text, key);
            files::number(text);
        }),
        Case::Bytes(bytes) => {
            // An escaped byte has four characters, and a string grows by doubling.
            if let Some(task) = bounded(bytes.len(), 16, || files::stuck_task(bytes)) {
                assert!(task.name.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
});
