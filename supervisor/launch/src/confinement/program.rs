//! From a policy for system calls to a program for seccomp(2). Pure; tested by running programs in
//! an interpreter.
//!
//! The compiler of the crate `seccompiler` has one answer for all that it does not list and spends
//! five instructions a call. A process loads its program between clone3 and execve, so each
//! instruction delays every start; and clone3, x32 and unknown calls each need an answer of their
//! own. Here a policy is a total function from numbers to answers, and its program one comparison
//! and one answer for each run of numbers that share it.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;
use nix::libc;
use seccompiler::sock_filter;

/// What a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is made.
    Allow,
    /// It fails with this error.
    Fail(Errno),
    /// It ends the process.
    Kill,
}

/// A condition on an argument's low 32 bits: the kernel looks at no more of the arguments that are
/// asked for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Argument `.0` is `.1`.
    Is(u8, u32),
    /// Argument `.0` is not `.1`.
    IsNot(u8, u32),
    /// Argument `.0` has none of the bits `.1`.
    Without(u8, u32),
    /// Argument `.0`, but for the bits `.1`, is `.2`.
    IsBeside(u8, u32, u32),
}

/// An error for some arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// If all of these hold.
    pub checks: &'static [Check],
    /// The error.
    pub with: Errno,
}

/// An answer that depends on arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Allowed if all checks of one of these hold.
    pub allowed: &'static [&'static [Check]],
    /// Else the error of the first of these that holds.
    pub refused: &'static [Refused],
    /// The answer otherwise.
    pub otherwise: Answer,
}

/// What one call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same for all arguments.
    Always(Answer),
    /// By its arguments.
    By(Rule),
}

/// What each call gets.
#[derive(Debug)]
pub struct Policy {
    /// Calls by number.
    pub listed: BTreeMap<u32, Verdict>,
    /// All others: the answer from this number on. One entry is for 0.
    pub others: BTreeMap<u32, Answer>,
}

/// A policy that no program can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a system call filter is too long for the kernel")]
pub struct TooLong;

/// BPF_MAXINSNS of linux/bpf_common.h.
const INSTRUCTIONS_MAX: usize = 4096;

/// `struct seccomp_data` (linux/seccomp.h): number, architecture, instruction pointer, six
/// arguments of 64 bits.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// linux/audit.h. Both machines are little-endian: an argument's low half comes first.
#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("system call tables exist for x86_64 and aarch64");

/// linux/bpf_common.h: code = class | size or operation | mode or source.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;

/// The policy's program. A call of another architecture, whose numbers mean other calls, ends the
/// process.
///
/// # Errors
/// If the kernel would refuse it for its length.
pub fn compile(policy: &Policy) -> Result<Vec<sock_filter>, TooLong> {
    let mut program = vec![
        statement(LOAD, ARCHITECTURE),
        jump(JUMP_EQUAL, THIS_ARCHITECTURE, 1, 0),
        answer(Answer::Kill),
        statement(LOAD, NUMBER),
    ];
    for (last, verdict) in runs(policy) {
        let block = match verdict {
            Verdict::Always(same) => vec![answer(same)],
            Verdict::By(rule) => by_arguments(&rule)?,
        };
        if last < u32::MAX {
            program.push(jump(JUMP_GREATER, last, distance(block.len())?, 0));
        }
        program.extend(block);
    }
    if program.len() > INSTRUCTIONS_MAX {
        Err(TooLong)
    } else {
        Ok(program)
    }
}

/// The form of a program in the supervisor's configuration: `struct sock_filter` in this machine's
/// byte order.
pub fn encode(program: &[sock_filter]) -> Vec<u64> {
    let number = |instruction: &sock_filter| {
        let [c0, c1] = instruction.code.to_ne_bytes();
        let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
        u64::from_ne_bytes([c0, c1, instruction.jt, instruction.jf, k0, k1, k2, k3])
    };
    program.iter().map(number).collect()
}

/// Runs of numbers that get the same, by their last number, in order, to the last number of all.
fn runs(policy: &Policy) -> Vec<(u32, Verdict)> {
    let after = policy
        .listed
        .keys()
        .filter_map(|number| number.checked_add(1));
    let starts: BTreeSet<u32> = policy
        .listed
        .keys()
        .chain(policy.others.keys())
        .copied()
        .chain(after)
        .collect();
    let mut runs: Vec<(u32, Verdict)> = Vec::new();
    for start in starts {
        let other = policy
            .others
            .range(..=start)
            .next_back()
            .map_or(Answer::Kill, |(_, answer)| *answer);
        let verdict = policy
            .listed
            .get(&start)
            .copied()
            .unwrap_or(Verdict::Always(other));
        if let Some((last, before)) = runs.last_mut() {
            if *before == verdict {
                continue;
            }
            *last = start.saturating_sub(1);
        }
        runs.push((u32::MAX, verdict));
    }
    runs
}

/// Answers in any case, so that what follows it is for other numbers.
fn by_arguments(rule: &Rule) -> Result<Vec<sock_filter>, TooLong> {
    let allowed = rule.allowed.iter().map(|checks| (*checks, Answer::Allow));
    let refused = rule
        .refused
        .iter()
        .map(|refused| (refused.checks, Answer::Fail(refused.with)));
    let mut block = Vec::new();
    for (checks, then) in allowed.chain(refused) {
        block.extend(clause(checks, then)?);
    }
    block.push(answer(rule.otherwise));
    Ok(block)
}

/// Answers if all checks hold, and else goes on after itself.
fn clause(checks: &[Check], then: Answer) -> Result<Vec<sock_filter>, TooLong> {
    // Backwards: where a check that fails goes on is after what is there already.
    let mut clause = vec![answer(then)];
    for check in checks.iter().rev() {
        let failed = distance(clause.len())?;
        let (argument, test) = match *check {
            Check::Is(argument, value) => (argument, vec![jump(JUMP_EQUAL, value, 0, failed)]),
            Check::IsNot(argument, value) => (argument, vec![jump(JUMP_EQUAL, value, failed, 0)]),
            Check::Without(argument, bits) => (argument, masked(bits, 0, failed)),
            Check::IsBeside(argument, bits, value) => (argument, masked(!bits, value, failed)),
        };
        let load = statement(LOAD, ARGUMENTS + 8 * u32::from(argument));
        clause.splice(0..0, std::iter::once(load).chain(test));
    }
    Ok(clause)
}

fn masked(bits: u32, value: u32, failed: u8) -> Vec<sock_filter> {
    vec![statement(AND, bits), jump(JUMP_EQUAL, value, 0, failed)]
}

fn distance(instructions: usize) -> Result<u8, TooLong> {
    u8::try_from(instructions).map_err(|_| TooLong)
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn answer(answer: Answer) -> sock_filter {
    statement(RETURN, action(answer))
}

/// What a program returns for it (seccomp(2)).
pub fn action(answer: Answer) -> u32 {
    match answer {
        Answer::Allow => libc::SECCOMP_RET_ALLOW,
        Answer::Fail(errno) => libc::SECCOMP_RET_ERRNO | errno_number(errno),
        Answer::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

#[expect(
    clippy::as_conversions,
    reason = "Errno is a C enum of small positive values; its value is the number"
)]
fn errno_number(errno: Errno) -> u32 {
    (errno as i32).unsigned_abs()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Runs a program as the kernel does, on the instructions that [`compile`] uses.
    pub fn run(
        program: &[sock_filter],
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> u32 {
        let (mut place, mut accumulator) = (0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[place].clone();
            place += 1;
            match code {
                LOAD => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        k => {
                            let argument = arguments[usize::try_from((k - ARGUMENTS) / 8).unwrap()];
                            u32::try_from(argument & 0xffff_ffff).unwrap()
                        }
                    }
                }
                AND => accumulator &= k,
                JUMP_EQUAL => place += usize::from(if accumulator == k { jt } else { jf }),
                JUMP_GREATER => place += usize::from(if accumulator > k { jt } else { jf }),
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// On this machine.
    pub fn ask(program: &[sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
        run(program, THIS_ARCHITECTURE, number, arguments)
    }

    fn policy(listed: &[(u32, Verdict)]) -> Policy {
        let others = [
            (0, Answer::Fail(Errno::EPERM)),
            (100, Answer::Fail(Errno::ENOSYS)),
            (1000, Answer::Kill),
        ];
        Policy {
            listed: listed.iter().copied().collect(),
            others: others.into(),
        }
    }

    const EPERM: u32 = 0x0005_0001;
    const EINVAL: u32 = 0x0005_0016;
    const ENOSYS: u32 = 0x0005_0026;
    const ALLOW: u32 = 0x7fff_0000;
    const KILL: u32 = 0x8000_0000;

    #[test]
    fn each_number_gets_its_own_answer() {
        let always = |answer| Verdict::Always(answer);
        let program = compile(&policy(&[
            (0, always(Answer::Allow)),
            (1, always(Answer::Allow)),
            (7, always(Answer::Allow)),
            (8, always(Answer::Fail(Errno::ENOSYS))),
            (99, always(Answer::Allow)),
            (u32::MAX, always(Answer::Allow)),
        ]))
        .unwrap();
        for number in 0..2000 {
            let wanted = match number {
                0 | 1 | 7 | 99 => ALLOW,
                8 => ENOSYS,
                0..100 => EPERM,
                100..1000 => ENOSYS,
                _ => KILL,
            };
            assert_eq!(ask(&program, number, [0; 6]), wanted, "{number}");
        }
        assert_eq!(ask(&program, u32::MAX, [0; 6]), ALLOW);
        assert_eq!(ask(&program, u32::MAX - 1, [0; 6]), KILL);
    }

    #[test]
    fn s3_another_architecture_is_killed_whatever_its_number_means_here() {
        let everything = Policy {
            listed: BTreeMap::new(),
            others: [(0, Answer::Allow)].into(),
        };
        let program = compile(&everything).unwrap();
        assert_eq!(ask(&program, 1, [0; 6]), ALLOW);
        // i386, arm.
        for architecture in [0x4000_0003, 0x4000_0028, 0] {
            assert_eq!(run(&program, architecture, 1, [0; 6]), KILL);
        }
    }

    #[test]
    fn arguments_decide_by_their_low_half_as_the_kernel_reads_them() {
        let rule = Rule {
            allowed: &[
                &[Check::Is(0, 2)],
                &[
                    Check::Is(0, 16),
                    Check::Is(2, 0),
                    Check::Without(1, 6),
                    Check::IsNot(3, 9),
                ],
                &[Check::IsBeside(4, 6, 9)],
            ],
            refused: &[
                Refused {
                    checks: &[Check::Is(0, 5), Check::Is(1, 1)],
                    with: Errno::EPERM,
                },
                Refused {
                    checks: &[Check::Is(0, 5)],
                    with: Errno::EINVAL,
                },
            ],
            otherwise: Answer::Fail(Errno::ENOSYS),
        };
        let program = compile(&policy(&[
            (41, Verdict::By(rule)),
            (42, Verdict::Always(Answer::Allow)),
        ]))
        .unwrap();
        let ask = |arguments| super::tests::ask(&program, 41, arguments);
        let high = 0xdead_beef_0000_0000;
        assert_eq!(ask([2, 7, 7, 9, 0, 0]), ALLOW);
        assert_eq!(ask([2 | high, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(ask([16, 9, 0, 8, 0, 0]), ALLOW);
        assert_eq!(ask([16, high, high, high, 0, 0]), ALLOW);
        assert_eq!(ask([3, 0, 0, 0, 9 | high, 0]), ALLOW);
        assert_eq!(ask([3, 0, 0, 0, 15, 0]), ALLOW);
        assert_eq!(ask([3, 0, 0, 0, 25, 0]), ENOSYS);
        // The first that holds.
        assert_eq!(ask([5, 1, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask([5, 2, 0, 0, 0, 0]), EINVAL);
        assert_eq!(ask([5, 1, 0, 0, 9, 0]), ALLOW);
        for refused in [
            [3, 0, 0, 0],
            [16, 2, 0, 0],
            [16, 4, 0, 0],
            [16, 0, 1, 0],
            [16, 0, 0, 9],
            [16, 0, 0, 9 | high],
        ] {
            let [a, b, c, d] = refused;
            assert_eq!(ask([a, b, c, d, 0, 0]), ENOSYS, "{refused:?}");
        }
        assert_eq!(super::tests::ask(&program, 42, [3; 6]), ALLOW);
        assert_eq!(super::tests::ask(&program, 40, [2; 6]), EPERM);
    }

    #[test]
    fn an_instruction_is_encoded_as_the_kernel_has_it_in_memory() {
        let [number] = encode(&[sock_filter {
            code: 0x15,
            jt: 2,
            jf: 5,
            k: 0xc000_003e,
        }])[..] else {
            panic!()
        };
        assert_eq!(number.to_ne_bytes(), [0x15, 0, 2, 5, 0x3e, 0, 0, 0xc0]);
    }

    #[test]
    fn a_jump_that_is_too_far_is_an_error() {
        const FAR: &[Check] = &[Check::Is(0, 0); 200];
        let rule = Rule {
            allowed: &[FAR],
            refused: &[],
            otherwise: Answer::Kill,
        };
        assert!(matches!(
            compile(&policy(&[(1, Verdict::By(rule))])),
            Err(TooLong)
        ));
    }
}
