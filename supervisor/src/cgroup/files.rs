//! The text of cgroup v2 interface files (cgroup-v2.rst): what is written to them and what they
//! say. Runs in the supervisor; pure.

use prn_ipc_protocol::config::Disk;
use prn_ipc_protocol::types::LimitName;

/// Period of the CPU limit in microseconds: the kernel's default (cgroup-v2.rst, cpu.max).
const CPU_PERIOD: u64 = 100_000;

/// One write that a limit takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The interface file.
    pub file: &'static str,
    /// What is written, whole.
    pub text: String,
    /// What it means that there is no such file.
    pub absent: Absent,
}

/// What it means that a file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// The limit is not enforced, for want of a controller.
    Unlimited,
    /// There is nothing to limit.
    Needless,
}

/// All writes that a limit takes, in order. None: it needs a disk, and there is none.
pub(super) fn settings(limit: LimitName, value: u64, disks: &[Disk]) -> Vec<Setting> {
    let setting = |file, text| Setting {
        file,
        text,
        absent: Absent::Unlimited,
    };
    let io = |key: &str| {
        disks
            .iter()
            .map(|Disk { major, minor }| {
                setting("io.max", format!("{major}:{minor} {key}={value}"))
            })
            .collect()
    };
    match limit {
        LimitName::Cpu => {
            let quota = value.saturating_mul(CPU_PERIOD / 1000);
            vec![setting("cpu.max", format!("{quota} {CPU_PERIOD}"))]
        }
        LimitName::Memory => vec![
            setting("memory.max", value.to_string()),
            Setting {
                // Absent where the kernel has no swap accounting, and then there is no swap to
                // limit.
                absent: Absent::Needless,
                ..setting("memory.swap.max", "0".to_owned())
            },
            // All or nothing: a tree that lost some process to the OOM killer is in no state that
            // anybody planned for.
            setting("memory.oom.group", "1".to_owned()),
        ],
        LimitName::IoRead => io("rbps"),
        LimitName::IoWrite => io("wbps"),
        LimitName::Pids => vec![setting("pids.max", value.to_string())],
    }
}

/// The value of `key` in the text of a flat-keyed file.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// The processes in a `cgroup.procs`. Those that are not in this PID namespace are 0.
pub(super) fn members(text: &[u8]) -> Vec<i32> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_files_are_read_by_whole_keys() {
        let events = "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(keyed(events, "oom_kill"), Some(2));
        assert_eq!(keyed(events, "oom"), Some(1));
        assert_eq!(keyed(events, "none"), None);
        assert_eq!(keyed("populated 1\nfrozen 0\n", "populated"), Some(1));
        assert_eq!(keyed("populated \n", "populated"), None);
        assert_eq!(keyed("populated1\n", "populated"), None);
        assert_eq!(keyed("", "populated"), None);
    }

    #[test]
    fn members_are_the_numbers_that_can_be_signalled() {
        assert_eq!(members(b"12\n7\n4194304\n"), [12, 7, 4_194_304]);
        // 0: a process of another PID namespace; a signal to it would be one to this program.
        assert_eq!(members(b"0\n-1\n\nx\n99999999999\n5"), [5]);
        assert_eq!(members(b""), []);
    }

    #[test]
    fn each_limit_is_written_as_the_kernel_has_it() {
        let disks = [
            Disk { major: 8, minor: 0 },
            Disk {
                major: 259,
                minor: 1,
            },
        ];
        let written = |limit, value| {
            settings(limit, value, &disks)
                .into_iter()
                .map(|setting| format!("{}={}", setting.file, setting.text))
                .collect::<Vec<_>>()
        };
        assert_eq!(written(LimitName::Cpu, 1500), ["cpu.max=150000 100000"]);
        let most = u64::MAX;
        assert_eq!(
            written(LimitName::Cpu, most),
            [format!("cpu.max={most} 100000")]
        );
        assert_eq!(
            written(LimitName::Memory, 1 << 20),
            [
                "memory.max=1048576",
                "memory.swap.max=0",
                "memory.oom.group=1"
            ]
        );
        assert_eq!(
            written(LimitName::IoRead, 9),
            ["io.max=8:0 rbps=9", "io.max=259:1 rbps=9"]
        );
        assert_eq!(
            written(LimitName::IoWrite, 9),
            ["io.max=8:0 wbps=9", "io.max=259:1 wbps=9"]
        );
        assert_eq!(written(LimitName::Pids, 3), ["pids.max=3"]);
    }

    #[test]
    fn only_swap_may_be_missing() {
        for limit in LimitName::ALL {
            for setting in settings(limit, 1, &[Disk { major: 8, minor: 0 }]) {
                let is_needless = setting.absent == Absent::Needless;
                assert_eq!(is_needless, setting.file == "memory.swap.max");
            }
        }
        assert_eq!(settings(LimitName::IoRead, 1, &[]), []);
    }
}
