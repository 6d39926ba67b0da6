//! How the API names and explains values. The frontend and the CLI say and read them; the
//! supervisor sends values and says nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::message::{
    ChildStep, Denial, ExitStatus, FromSupervisor, Layer, Preparation, Refusal, Reply, Scarce, Verb,
};
use crate::signed::SignatureRefusal;
use crate::types::{Digest, Hours, Id, Invalid, LimitName, Limits, Millis};

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::Range { min, max } => write!(f, "must be between {min} and {max}"),
            Self::Relative => f.write_str("must be an absolute path"),
            Self::Character => f.write_str("has a character that is not allowed there"),
        }
    }
}

impl std::error::Error for Invalid {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownProcess => f.write_str("no process has this id"),
            Self::NoInput => f.write_str("the process was started without standard input"),
            Self::NoTerminal => f.write_str("the process has no terminal"),
            Self::AlreadyExists => f.write_str("the id names a process with another specification"),
            Self::Draining => f.write_str("the server is shutting down"),
            Self::TooManyProcesses { max, scarce } => {
                write!(f, "{max} processes have all {scarce}")
            }
            Self::UserIdsHeld { held, all } => write!(f, "of {all} user ids, {held} are held"),
            Self::ArgumentsAboveBudget(left) => write!(f, "arguments have {left} bytes left"),
            Self::AboveCeiling { limit, ceiling } => write!(f, "{limit} is above {ceiling}"),
            Self::OutputAboveCeiling(most) => write!(f, "output_max_bytes is above {most}"),
            Self::OutputAboveBudget(left) => write!(f, "output has {left} bytes left"),
            Self::SearchPathAbove(most) => write!(
                f,
                "PATH and command make more than {most} bytes of places to look at"
            ),
            Self::NotEnforceable(limit) => write!(f, "this host cannot enforce {limit}"),
            Self::Unconfined => f.write_str("the server does not allow profile none"),
            Self::UserInWorkspace => f.write_str("a workspace's processes run as its user"),
            Self::UserUnavailable => {
                f.write_str("a user of the machine's runs in namespaces alone")
            }
            Self::PathsUnavailable => f.write_str("paths can be ruled in namespaces alone"),
            Self::NotBindable(place) => write!(f, "rule {place} may not bind its directory"),
            Self::StrictUnavailable => f.write_str("this host cannot enforce profile strict"),
            Self::Exec { step, errno } => write!(f, "{step} failed with errno {errno}"),
            Self::Resources { what, errno } => write!(f, "{what} failed with errno {errno}"),
            Self::UnknownWorkspace => f.write_str("no workspace has this name"),
            Self::WorkspaceExists => f.write_str("a workspace has this name"),
            Self::WorkspaceLeaving => f.write_str("the workspace is being removed"),
            Self::WorkspaceInUse(count) => write!(f, "{count} processes live in the workspace"),
            Self::TooManyWorkspaces(max) => write!(f, "{max} workspaces are the server's most"),
            Self::DiskAboveCeiling(most) => write!(f, "the server's most for a workspace: {most}"),
            Self::NameTaken(id) => write!(f, "process {id} has the name"),
            Self::DeadlinePassed => f.write_str("the deadline has passed"),
            Self::Ended => f.write_str("the process has ended"),
            Self::NotEnded => f.write_str("the process has not ended"),
            Self::MemoryInUse(bytes) => write!(f, "the process takes {bytes} bytes of memory"),
            Self::NoLease => f.write_str("the process has no lease"),
            Self::TooManyKept { max } => write!(f, "half of {max} processes are kept already"),
            Self::Stopping => f.write_str("the process is being stopped"),
            Self::Forgotten => f.write_str("a process of this id was forgotten"),
            Self::TooSoon(_) => f.write_str("signals have taken too much time"),
            Self::NotChanged(errno) => write!(f, "the kernel refused it with errno {errno}"),
            Self::TooManyLabels => f.write_str("the process would have too many labels"),
            Self::Denied(denial) => fmt::Display::fmt(denial, f),
            Self::OtherDigest(digest) => write!(f, "the start has digest {digest}"),
            Self::Signature(refusal) => fmt::Display::fmt(refusal, f),
        }
    }
}

impl fmt::Display for SignatureRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required => f.write_str("the start has to be signed"),
            Self::Input => f.write_str("a start that has to be signed has no input"),
            Self::UnknownKey => f.write_str("the key is nobody's"),
            Self::KeyExpired => f.write_str("the key's certificate has ended"),
            Self::OtherAudience => f.write_str("the signature is for somebody else"),
            Self::BeforeRun(began) => write!(f, "it begins before this run, at {}", began.0),
            Self::WindowTooLong(most) => {
                write!(f, "its window is above {} ms", most.milliseconds())
            }
            Self::NotYet(now) => write!(f, "it has not begun at {}", now.0),
            Self::Expired(now) => write!(f, "it has ended at {}", now.0),
            Self::Invalid => f.write_str("it is not the key's, or not of this start"),
            Self::Replayed => f.write_str("a signed start of this id was taken"),
            Self::TooMany(most) => write!(f, "{most} signed starts are remembered"),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such principal"),
            Self::Expired => f.write_str("the principal's time is over"),
            Self::Verb(verb) => write!(f, "the role does not allow {verb}"),
            Self::Reach(verb) => write!(f, "the role does not allow {verb} of what is another's"),
            Self::Program => f.write_str("no rule of the role describes the program"),
            Self::Variable(place) => write!(f, "the role does not allow variable {place}"),
            Self::Directory => f.write_str("the role allows no other directory"),
            Self::Workspace => f.write_str("the role allows no workspace"),
            Self::Paths => f.write_str("the role allows no rule of paths"),
            Self::Profile(least) => write!(f, "the role wants profile {least:?}"),
            Self::User => f.write_str("the role does not allow the user"),
            Self::Hours(next) => write!(f, "the role's hours are {next} next"),
            Self::Output(most) => write!(f, "the role keeps {most} bytes of output"),
            Self::Processes(most) => write!(f, "the role allows {most} processes"),
        }
    }
}

/// The names of days, from the first minute of the week on.
pub const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |minute: u16| DAYS.get(usize::from(minute / 1440 % 7)).unwrap_or(&"");
        let (from, to) = (self.from, self.to);
        let (hour, minute) = (from % 1440 / 60, from % 60);
        write!(f, "{} {hour:02}:{minute:02}-", day(from))?;
        let last = to.saturating_sub(1);
        if last / 1440 != from / 1440 {
            write!(f, "{} ", day(last))?;
        }
        let end = last % 1440 + 1;
        write!(f, "{:02}:{:02} UTC", end / 60, end % 60)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Signal => "signal",
            Self::Output => "output",
            Self::Input => "input",
            Self::List => "list",
            Self::Workspace => "workspace",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    /// Of 64 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.chars().map(|digit| match digit {
            'A'..='F' => None,
            _ => digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok()),
        });
        let digits: Option<Vec<u8>> = digits.collect();
        let digits = digits.ok_or(Invalid::Character)?;
        let pairs = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
        let bytes: Vec<u8> = pairs.collect();
        let length = Invalid::Range { min: 64, max: 64 };
        if digits.len() != 64 {
            return Err(length);
        }
        bytes.try_into().map(Self).map_err(|_| length)
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "Landlock",
            Self::SystemCallFilter => "a system call filter",
        })
    }
}

impl fmt::Display for Scarce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserIds => "user ids",
            Self::Descriptors => "descriptors",
            Self::Terminals => "terminals",
        })
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn between(value: u64, min: u64, max: u64) -> Result<u64, Invalid> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(Invalid::Range { min, max })
    }
}

/// Output bytes kept, as people may ask for them: from one pipe buffer to 1 TiB.
///
/// # Errors
/// [`Invalid::Range`].
pub fn output_max(bytes: u64) -> Result<u64, Invalid> {
    between(bytes, 65_536, 0x100_0000_0000)
}

impl TryFrom<u64> for Millis {
    type Error = Invalid;

    /// Up to a year.
    fn try_from(milliseconds: u64) -> Result<Self, Invalid> {
        between(milliseconds, 0, 31_536_000_000).map(|milliseconds| Self { milliseconds })
    }
}

impl LimitName {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cpu,
        Self::Memory,
        Self::IoRead,
        Self::IoWrite,
        Self::Pids,
    ];
    /// The value, if the kernel can take it.
    ///
    /// # Errors
    /// [`Invalid::Range`].
    pub fn check(self, value: u64) -> Result<u64, Invalid> {
        let (min, max) = match self {
            // The kernel takes no quota under 1 ms (cgroup-v2.rst, cpu.max), which is 10 of a 100
            // ms period.
            Self::Cpu => (10, 1_000_000),
            // Under 1 MiB not even a small program can start.
            Self::Memory => (0x10_0000, u64::MAX >> 1),
            Self::IoRead | Self::IoWrite => (1024, u64::MAX >> 1),
            // The kernel's own most (PID_MAX_LIMIT, proc(5)).
            Self::Pids => (1, 4_194_304),
        };
        between(value, min, max)
    }
}

impl TryFrom<[Option<u64>; 5]> for Limits {
    type Error = Invalid;

    /// In the order of [`LimitName::ALL`].
    fn try_from(raw: [Option<u64>; 5]) -> Result<Self, Invalid> {
        let set = LimitName::ALL
            .into_iter()
            .zip(raw)
            .filter_map(|(name, value)| Some((name, value?)));
        set.map(|(name, value)| Ok((name, name.check(value)?)))
            .collect()
    }
}

impl TryFrom<Duration> for Millis {
    type Error = Invalid;

    fn try_from(duration: Duration) -> Result<Self, Invalid> {
        // More than u64 milliseconds is more than a year.
        u64::try_from(duration.as_millis())
            .unwrap_or(u64::MAX)
            .try_into()
    }
}

impl fmt::Display for LimitName {
    /// The name of the field of `proto.v1.Limits`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu_millis",
            Self::Memory => "memory_bytes",
            Self::IoRead => "io_read_bytes_per_second",
            Self::IoWrite => "io_write_bytes_per_second",
            Self::Pids => "pids",
        })
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "making the working directory",
            Self::Cgroup => "making the cgroup",
            Self::Pipes => "making the pipes",
            Self::Terminal => "making the terminal",
            Self::Clone => "creating the process",
            Self::Watch => "watching the process",
            Self::Output => "making the output store",
            Self::DiskLimit => "setting the bound of the workspace's disk space",
        })
    }
}

impl fmt::Display for ChildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "setsid",
            Self::Descriptors => "dup2",
            Self::Limits => "setrlimit",
            Self::Namespaces => "unshare or mount",
            Self::Path(_) => "a rule for a path",
            Self::Identity => "setresuid",
            Self::Privileges => "prctl",
            Self::WorkingDirectory => "chdir",
            Self::Signals => "sigprocmask",
            Self::Confinement => "confinement",
            Self::Exec | Self::Interpreter => "execve",
        })
    }
}

impl ExitStatus {
    /// As shells say it: the exit code, or 128 + the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code.into(),
            Self::Signalled { signal, .. } => i32::from(signal) + 128,
        }
    }
}

impl FromSupervisor {
    /// How many descriptors come with it: an output's ring and index with [`Reply::Subscribed`], an
    /// input's end to write to with [`Reply::Input`], else none.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Reply(_, Reply::Subscribed) => 2,
            Self::Reply(_, Reply::Input { .. }) => 1,
            Self::Reply(
                _,
                Reply::Done
                | Reply::Existing
                | Reply::Usage(_)
                | Reply::Startable(_)
                | Reply::Receipt(_)
                | Reply::InputOver { .. }
                | Reply::Refused(_),
            )
            | Self::Event(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_said_with_their_days() {
        for (from, to, said) in [
            (480, 1080, "Mon 08:00-18:00 UTC"),
            (0, 1440, "Mon 00:00-24:00 UTC"),
            (4 * 1440 + 1320, 5 * 1440 + 360, "Fri 22:00-Sat 06:00 UTC"),
            (6 * 1440 + 1320, 7 * 1440 + 61, "Sun 22:00-Mon 01:01 UTC"),
        ] {
            assert_eq!(Hours::try_from((from, to)).unwrap().to_string(), said);
        }
    }

    #[test]
    fn numbers_outside_their_range_are_named_with_it() {
        let cpu = |raw: u64| Limits::try_from([Some(raw), None, None, None, None]).is_ok();
        assert!(!cpu(9) && cpu(10) && cpu(1_000_000) && !cpu(1_000_001));
        let output = |raw: u64| output_max(raw).is_ok();
        assert!(!output(65_535) && output(65_536) && output(1 << 40) && !output((1 << 40) + 1));
        assert_eq!(
            Millis::try_from(31_536_000_001),
            Err(Invalid::Range {
                min: 0,
                max: 31_536_000_000
            })
        );
    }
}
