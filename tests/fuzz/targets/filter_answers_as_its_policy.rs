//! Whatever a policy for system calls says, its program is one that the kernel takes, and answers
//! each call as the policy does; a call of another architecture ends the process. A policy is
//! refused only where a jump or the whole is too long.
//!
//! The program is run here in the form in which the supervisor gets it, over the bytes of `struct
//! seccomp_data`.
#![no_main]

#[path = "../../../supervisor/launch/src/confinement/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nix::errno::Errno;
use program::{Answer, Check, Policy, Refused, Rule, TooLong, Verdict, action, compile, encode};

#[derive(Debug, Arbitrary)]
struct Case {
    listed: Vec<(Number, Listed)>,
    first: Reply,
    others: Vec<(Number, Reply)>,
    calls: Vec<Call>,
    /// Neighbours of each listed number are asked for too, with these arguments.
    arguments: [Value; 6],
}

/// Close to each other, so that runs meet; else anywhere, and the last one of all.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Number {
    Low(u8),
    High(u32),
    FromEnd(u8),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Reply {
    Allow,
    Perm,
    NoSys,
    Errno(u8),
    Kill,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Listed {
    Always(Reply),
    By {
        first: u16,
        clauses: u8,
        refused: u8,
        otherwise: Reply,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Call {
    number: Number,
    arguments: [Value; 6],
    /// Another machine's, if it is odd.
    architecture: u32,
}

/// Mostly one that a check looks for, with anything in the half that none looks at.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Value {
    Known(u8, u32),
    Any(u64),
}

/// Errors of their own for some arguments, as many as there are clauses.
static REFUSED: LazyLock<Vec<Refused>> = LazyLock::new(|| {
    let errors = [Errno::EPERM, Errno::EAFNOSUPPORT, Errno::EPROTONOSUPPORT];
    CLAUSES
        .iter()
        .enumerate()
        .map(|(place, checks)| Refused {
            checks,
            with: errors[place % errors.len()],
        })
        .collect()
});

/// What checks compare with.
const VALUES: [u32; 8] = [0, 1, 2, 6, 16, 0x7e02_0000, 1 << 31, u32::MAX];

/// Rules refer to static tables, so they are taken from one of all lengths and kinds instead of
/// being made for each input.
static CHECKS: LazyLock<Vec<Check>> = LazyLock::new(|| {
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % below
    };
    let check = |_| {
        let (argument, value) = (next(6) as u8, VALUES[next(VALUES.len())]);
        let beside = VALUES[next(VALUES.len())];
        match next(4) {
            0 => Check::Is(argument, value),
            1 => Check::IsNot(argument, value),
            2 => Check::Without(argument, value),
            _ => Check::IsBeside(argument, beside, value),
        }
    };
    (0..1024).map(check).collect()
});

/// Parts of [`CHECKS`]: none to four of them, and now and then about as many as a jump can pass.
static CLAUSES: LazyLock<Vec<&'static [Check]>> = LazyLock::new(|| {
    let checks: &'static [Check] = &CHECKS;
    let length = |place: usize| {
        if place % 61 == 60 {
            95 + place % 37
        } else {
            place % 5
        }
    };
    (0..800)
        .map(|place| &checks[place..place + length(place)])
        .collect()
});

impl Number {
    fn value(self) -> u32 {
        match self {
            Self::Low(number) => number.into(),
            Self::High(number) => number,
            Self::FromEnd(number) => u32::MAX - u32::from(number),
        }
    }
}

impl Reply {
    fn answer(self) -> Answer {
        match self {
            Self::Allow => Answer::Allow,
            Self::Perm => Answer::Fail(Errno::EPERM),
            Self::NoSys => Answer::Fail(Errno::ENOSYS),
            Self::Errno(number) => Answer::Fail(Errno::from_raw(number.into())),
            Self::Kill => Answer::Kill,
        }
    }
}

impl Listed {
    fn verdict(self) -> Verdict {
        match self {
            Self::Always(reply) => Verdict::Always(reply.answer()),
            Self::By {
                first,
                clauses,
                refused,
                otherwise,
            } => {
                let clauses_of_all: &'static [&'static [Check]] = &CLAUSES;
                let first = usize::from(first) % clauses_of_all.len();
                let end = (first + usize::from(clauses % 16)).min(clauses_of_all.len());
                let refused_of_all: &'static [Refused] = &REFUSED;
                let last = (end + usize::from(refused % 8)).min(refused_of_all.len());
                Verdict::By(Rule {
                    allowed: &clauses_of_all[first..end],
                    refused: &refused_of_all[end..last],
                    otherwise: otherwise.answer(),
                })
            }
        }
    }
}

impl Value {
    fn value(self) -> u64 {
        match self {
            Self::Known(place, high) => {
                u64::from(VALUES[usize::from(place) % VALUES.len()]) | u64::from(high) << 32
            }
            Self::Any(value) => value,
        }
    }
}

fuzz_target!(|case: Case| {
    let listed: BTreeMap<_, _> = case
        .listed
        .iter()
        .take(400)
        .map(|(number, listed)| (number.value(), listed.verdict()))
        .collect();
    let mut others: BTreeMap<_, _> = case
        .others
        .iter()
        .take(32)
        .map(|(number, reply)| (number.value(), reply.answer()))
        .collect();
    // One entry is for 0.
    others.insert(0, case.first.answer());
    let policy = Policy { listed, others };
    let program = match compile(&policy) {
        Ok(program) => encode(&program),
        Err(TooLong) => {
            assert!(too_long(&policy), "{policy:?} is refused");
            return;
        }
    };
    valid(&program);
    let ends = policy.listed.keys().chain(policy.others.keys());
    let near = ends.flat_map(|number| [number.wrapping_sub(1), *number, number.wrapping_add(1)]);
    let near = near.map(|number| (number, case.arguments, THIS));
    let calls = case.calls.iter().take(64).map(|call| {
        let architecture = if call.architecture % 2 == 0 {
            THIS
        } else {
            call.architecture
        };
        (call.number.value(), call.arguments, architecture)
    });
    for (number, arguments, architecture) in near.chain(calls) {
        let arguments = arguments.map(Value::value);
        let wanted = if architecture == THIS {
            said(&policy, number, arguments)
        } else {
            Answer::Kill
        };
        assert_eq!(action(wanted), returned(wanted));
        let found = run(&program, number, architecture, arguments);
        assert_eq!(
            found,
            returned(wanted),
            "{number} {arguments:x?} on {architecture:#x}: {policy:?}"
        );
    }
});

/// This machine's (linux/audit.h).
const THIS: u32 = if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0xc000_003e
};

/// What the policy says.
fn said(policy: &Policy, number: u32, arguments: [u64; 6]) -> Answer {
    match policy.listed.get(&number) {
        None => policy
            .others
            .iter()
            .rfind(|(from, _)| **from <= number)
            .map(|(_, answer)| *answer)
            .expect("0"),
        Some(Verdict::Always(answer)) => *answer,
        Some(Verdict::By(rule)) => {
            let low = |argument: u8| arguments[usize::from(argument)] as u32;
            let holds = |check: &Check| match *check {
                Check::Is(argument, value) => low(argument) == value,
                Check::IsNot(argument, value) => low(argument) != value,
                Check::Without(argument, bits) => low(argument) & bits == 0,
                Check::IsBeside(argument, bits, value) => low(argument) & !bits == value,
            };
            if rule.allowed.iter().any(|clause| clause.iter().all(holds)) {
                return Answer::Allow;
            }
            let refused = rule
                .refused
                .iter()
                .find(|refused| refused.checks.iter().all(holds));
            refused.map_or(rule.otherwise, |refused| Answer::Fail(refused.with))
        }
    }
}

/// As seccomp(2) has it.
fn returned(answer: Answer) -> u32 {
    match answer {
        Answer::Allow => 0x7fff_0000,
        Answer::Fail(errno) => 0x0005_0000 | errno as u32,
        Answer::Kill => 0x8000_0000,
    }
}

/// Whether a block is longer than a jump, or all of them, each for a run of its own, are too long
/// together.
fn too_long(policy: &Policy) -> bool {
    let block = |verdict: &Verdict| match verdict {
        Verdict::Always(_) => 1,
        Verdict::By(rule) => {
            let check = |check: &Check| {
                if matches!(check, Check::Without(..) | Check::IsBeside(..)) {
                    3
                } else {
                    2
                }
            };
            let refused = rule.refused.iter().map(|refused| &refused.checks);
            1 + rule
                .allowed
                .iter()
                .chain(refused)
                .map(|clause| 1 + clause.iter().map(check).sum::<usize>())
                .sum::<usize>()
        }
    };
    let listed: usize = policy
        .listed
        .values()
        .map(|verdict| 3 + block(verdict))
        .sum();
    policy.listed.values().any(|verdict| block(verdict) > 255)
        || 4 + listed + 2 * policy.others.len() > 4096
}

/// Operation, jumps and operand of `struct sock_filter`.
fn parts(instruction: u64) -> (u16, usize, usize, u32) {
    let [c0, c1, jt, jf, k0, k1, k2, k3] = instruction.to_ne_bytes();
    (
        u16::from_ne_bytes([c0, c1]),
        jt.into(),
        jf.into(),
        u32::from_ne_bytes([k0, k1, k2, k3]),
    )
}

/// What bpf_check_classic and seccomp_check_filter of the kernel look for, for the instructions
/// that are used.
fn valid(program: &[u64]) {
    assert!((1..=4096).contains(&program.len()));
    for (place, instruction) in program.iter().enumerate() {
        let (code, jt, jf, k) = parts(*instruction);
        match code {
            // BPF_LD | BPF_W | BPF_ABS
            0x20 => assert!(k % 4 == 0 && k < 64, "load from {k}"),
            // BPF_ALU | BPF_AND | BPF_K, BPF_RET | BPF_K
            0x54 | 0x06 => {}
            // BPF_JMP | BPF_JEQ | BPF_K, BPF_JMP | BPF_JGT | BPF_K
            0x15 | 0x25 => assert!(
                place + 1 + jt.max(jf) < program.len(),
                "jump out of the program"
            ),
            other => panic!("instruction {other:#x}"),
        }
    }
    assert_eq!(
        program.last().map(|last| parts(*last).0),
        Some(0x06),
        "the last one must return"
    );
}

/// As the kernel runs a program that it has taken.
fn run(program: &[u64], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [number.to_ne_bytes(), architecture.to_ne_bytes()].concat();
    data.extend(0xfeed_feed_feed_feed_u64.to_ne_bytes());
    data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
    let (mut place, mut accumulator) = (0, 0);
    loop {
        let (code, jt, jf, k) = parts(program[place]);
        place += 1;
        match code {
            0x20 => {
                let at = k as usize;
                accumulator = u32::from_ne_bytes(data[at..at + 4].try_into().expect("four bytes"));
            }
            0x54 => accumulator &= k,
            0x15 => place += if accumulator == k { jt } else { jf },
            0x25 => place += if accumulator > k { jt } else { jf },
            _ => return k,
        }
    }
}
