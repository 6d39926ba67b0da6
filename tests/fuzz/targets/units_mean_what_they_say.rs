//! A text that is taken as a size, a CPU share, a time, an instant, an address, a variable or a
//! command means what it says: by a second reckoning, and when it is shown and read again. Anything
//! else is refused, without panic and at a bounded cost.
#![no_main]

#[path = "../../../prn/src/typed/command_line.rs"]
mod command_line;

use std::time::Duration;

use command_line::split_words;
use libfuzzer_sys::fuzz_target;
use prn_fuzz::bounded;
use prn_ipc_protocol::search::environment;
use prn_ipc_protocol::types::LimitName;
use prn_proto::units::{
    Address, Cpu, Moment, Size, SizeOrZero, Time, Variable, When, show_duration, show_size,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fuzz_target!(|text: &str| {
    bounded(text.len(), 64, || {
        let (_, _, _) = (
            text.parse::<Size>(),
            text.parse::<Cpu>(),
            text.parse::<Time>(),
        );
        let (_, _) = (text.parse::<Address>(), text.parse::<Variable>());
        let _ = text.parse::<Moment>();
    });
    size(text);
    cpu(text);
    time(text);
    moment(text);
    address(text);
    variable(text);
    command(text);
});

fn size(text: &str) {
    let zero = (text == "0").then_some(0);
    assert_eq!(
        text.parse().ok().map(|SizeOrZero(bytes)| bytes),
        text.parse().ok().map(|Size(bytes)| bytes).or(zero)
    );
    let Ok(Size(bytes)) = text.parse() else {
        return;
    };
    assert!(bytes > 0);
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c.is_whitespace());
    let unit = text[number.len()..].trim_start().to_ascii_lowercase();
    let scale = match unit.chars().next() {
        None | Some('b') => 1u64,
        Some(letter) => 1024u64.pow("kmgt".find(letter).expect("a unit") as u32 + 1),
    };
    near(
        bytes,
        number.parse::<f64>().expect("a number") * scale as f64,
    );
    assert_eq!(
        bytes.to_string().parse::<Size>().ok(),
        (bytes < 10u64.pow(18)).then_some(Size(bytes))
    );
    // Shown to a tenth of its unit, and read again to a byte, rounded down both times.
    let Ok(Size(shown)) = show_size(bytes).parse() else {
        panic!("{bytes} is shown as {}", show_size(bytes))
    };
    let unit = [1u64 << 40, 1 << 30, 1 << 20, 1 << 10, 1]
        .into_iter()
        .find(|unit| *unit <= bytes)
        .expect("at least 1");
    assert!(
        shown <= bytes && bytes - shown <= unit / 10 + 1,
        "{bytes} is shown as {}",
        show_size(bytes)
    );
}

fn cpu(text: &str) {
    let Ok(Cpu(millis)) = text.parse() else {
        return;
    };
    // What is taken here is taken by the supervisor too.
    assert!(LimitName::Cpu.check(millis).is_ok());
    let (number, scale) = text
        .strip_suffix('%')
        .map_or((text, 1000.0), |percent| (percent, 10.0));
    near(millis, number.parse::<f64>().expect("a number") * scale);
    let exact = format!("{}.{:03}", millis / 1000, millis % 1000);
    assert_eq!(exact.parse(), Ok(Cpu(millis)));
}

fn time(text: &str) {
    let Ok(Time(span)) = text.parse() else { return };
    if text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        // Spans in one text are added.
        if let Some(more) = span
            .checked_add(Duration::from_secs(3600))
            .filter(|sum| sum.as_millis() < u64::MAX.into())
        {
            assert_eq!(format!("{text}1h").parse(), Ok(Time(more)));
            assert_eq!(format!("1h{text}").parse(), Ok(Time(more)));
        }
    } else {
        assert_eq!(format!("{text}s").parse(), Ok(Time(span)));
    }
    let shown: Time = show_duration(span)
        .parse()
        .unwrap_or_else(|_| panic!("{span:?}: {}", show_duration(span)));
    let exact = if span.as_secs() >= 60 {
        Duration::from_secs(span.as_secs())
    } else {
        span
    };
    assert_eq!(shown.0, exact);
}

fn moment(text: &str) {
    let Ok(Moment(when)) = text.parse() else {
        return;
    };
    match when {
        When::Ago(ago) => {
            assert_eq!(text.parse(), Ok(Time(ago)));
            assert!(
                text.ends_with(|c: char| c.is_ascii_alphabetic()),
                "{text:?} has no unit"
            );
        }
        When::At(instant) => {
            assert!(text.parse::<Time>().is_err(), "{text:?} is a span too");
            // Its offset may carry an instant beyond the years that have a form.
            if let Ok(shown) = OffsetDateTime::from(instant).format(&Rfc3339) {
                assert_eq!(shown.parse(), Ok(Moment(when)));
            }
        }
    }
}

fn address(text: &str) {
    let Ok(Address(address)) = text.parse() else {
        return;
    };
    assert_eq!(address, text);
    let (host, port) = text.rsplit_once(':').expect("a port");
    assert!(port.parse::<u16>().is_ok());
    assert!(!host.is_empty() && !host.contains(char::is_whitespace));
    // A bracket that is taken here and no address later is an error about a name that nobody wrote.
    if host.starts_with('[') {
        assert!(
            text.parse::<std::net::SocketAddrV6>().is_ok(),
            "{text:?} is no address"
        );
    } else {
        assert!(!host.contains(['[', ']', ':', '/', '@']));
    }
}

fn variable(text: &str) {
    let Ok(variable) = text.parse::<Variable>() else {
        return;
    };
    assert!(
        !variable.name.is_empty()
            && !variable.name.contains(['=', '\0'])
            && !variable.value.contains('\0')
    );
    if text.contains('=') {
        assert_eq!(format!("{}={}", variable.name, variable.value), text);
    } else {
        assert_eq!(
            (variable.name.as_str(), Ok(variable.value.clone())),
            (text, std::env::var(text))
        );
    }
    // What is taken here reaches the process whole.
    let wanted = format!("{}={}", variable.name, variable.value);
    let variable = std::ffi::CString::new(wanted.as_str())
        .into_iter()
        .collect::<Vec<_>>();
    if variable.is_empty() {
        return;
    }
    let environment = environment(&variable, Some(b"/"), None);
    assert_eq!(
        environment.last().map(|last| last.as_bytes()),
        Some(wanted.as_bytes())
    );
}

fn command(text: &str) {
    let Ok(words) = bounded(text.len(), 64, || split_words(text)) else {
        return;
    };
    assert!(!words[0].is_empty());
    // No word is made of nothing: all of their bytes were in the text.
    assert!(words.iter().map(String::len).sum::<usize>() <= text.len());
    if let Ok(quoted) = shlex::try_join(words.iter().map(String::as_str)) {
        assert_eq!(split_words(&quoted).as_ref(), Ok(&words));
    }
}

/// Rounded down, and as exact as the second reckoning is.
fn near(value: u64, reckoned: f64) {
    let difference = reckoned - value as f64;
    assert!(
        (-1e-9 * reckoned - 1e-6..1.0 + 1e-9 * reckoned).contains(&difference),
        "{value} is not {reckoned}"
    );
}
