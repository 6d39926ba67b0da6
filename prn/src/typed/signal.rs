//! Signals by their names and numbers (signal(7)), as they are on the server's machine.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// The first and the last of the real-time signals, as programs see them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal: a name with or without SIG in front, in any case, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNumber(pub i32);

/// A text is not a [`SignalNumber`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a signal: write a name as TERM or SIGTERM, or a number from 1 to 64; `prn kill --list` shows all"
)]
pub struct InvalidSignal;

impl FromStr for SignalNumber {
    type Err = InvalidSignal;

    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let number = if let Ok(number) = text.parse() {
            number
        } else {
            let name = text.to_ascii_uppercase();
            let name = name.strip_prefix("SIG").unwrap_or(&name);
            real_time(name)
                .or_else(|| named(name))
                .ok_or(InvalidSignal)?
        };
        if (1..=RTMAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(InvalidSignal)
        }
    }
}

#[expect(
    clippy::as_conversions,
    reason = "the numbers of an enum with the size of one"
)]
fn number_of(signal: Signal) -> i32 {
    signal as i32
}

fn named(name: &str) -> Option<i32> {
    // Names of before there were others.
    let name = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    let signal: Signal = format!("SIG{name}").parse().ok()?;
    Some(number_of(signal))
}

/// RTMIN, RTMIN+n, RTMAX and RTMAX-n.
fn real_time(name: &str) -> Option<i32> {
    let (from, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (RTMIN, rest.strip_prefix('+').map(str::parse::<i32>)),
        (None, Some(rest)) => (
            RTMAX,
            rest.strip_prefix('-')
                .map(|less| less.parse().map(|less: i32| -less)),
        ),
        (None, None) => return None,
    };
    let by = match rest {
        None if name.len() == "RTMIN".len() => 0,
        None => return None,
        Some(by) => by.ok()?,
    };
    let number = from.checked_add(by)?;
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// All signals that have a name, as kill(1) lists them.
pub fn list() -> String {
    let named = Signal::iterator().map(|signal| {
        let name = signal.as_str();
        let number = number_of(signal);
        format!("{number:>2} {}", name.strip_prefix("SIG").unwrap_or(name))
    });
    let real_time = [(RTMIN, "RTMIN"), (RTMAX, "RTMAX")];
    let real_time = real_time.map(|(number, name)| format!("{number} {name}"));
    named.chain(real_time).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("term", 15),
            ("Sighup", 1),
            ("9", 9),
            ("64", 64),
            ("USR1", 10),
            ("CLD", 17),
            ("RTMIN", 34),
            ("SIGRTMIN+2", 36),
            ("rtmax", 64),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(text.parse(), Ok(SignalNumber(number)), "{text}");
        }
        for bad in [
            "", "0", "65", "-9", "SIG", "NOPE", "RTMIN-1", "RTMIN+", "RTMIN+99", "RTMAX+1",
            "RTMINI", "TERM ",
        ] {
            assert_eq!(bad.parse::<SignalNumber>(), Err(InvalidSignal), "{bad}");
        }
    }

    #[test]
    fn the_list_has_names_that_are_taken() {
        for line in list().lines() {
            let (number, name) = line.trim().split_once(' ').unwrap();
            assert_eq!(name.parse(), Ok(SignalNumber(number.parse().unwrap())));
        }
    }
}
