//! Hours of a role: from words such as `Mon-Fri 08:00-18:00` to minutes of the week, in UTC.

use prn_ipc_protocol::DAYS;
use prn_ipc_protocol::types::{Hours, WEEK};

use super::tables::{Problem, RoleTable, Source};

const DAY: u16 = 24 * 60;

/// All of a table.
pub(super) fn of(table: &RoleTable, source: &Source, problems: &mut Vec<Problem>) -> Vec<Hours> {
    let Some(texts) = &table.hours else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for text in texts.get_ref().as_slice() {
        match parsed(text) {
            Some(hours) => all.extend(hours),
            None => {
                let what = format!(
                    "{text:?} is no part of a week: write days and hours, in UTC, such as \"Mon-Fri 08:00-18:00\", \"Sat 22:00-06:00\" (up to Sunday) or \"00:00-04:00\" (each day)"
                );
                problems.push(source.problem(&texts.span(), what));
            }
        }
    }
    if texts.get_ref().as_slice().is_empty() {
        let what = "hours is empty, so nothing could ever be started or changed: fill it, or take it away to let that be at any time";
        problems.push(source.problem(&texts.span(), what));
    }
    all
}

/// On each day that is meant from one time to the other, which is the next day's if it does not come
/// later.
fn parsed(text: &str) -> Option<Vec<Hours>> {
    let (days, times) = match text.split_once(' ') {
        Some((days, times)) => (days_of(days)?, times),
        None => ((0..7).collect(), text),
    };
    let (from, to) = times.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    if from == DAY || from == to {
        return None;
    }
    let to = if to < from { to + DAY } else { to };
    let hours = |day: u16| Hours::try_from((day * DAY + from, day * DAY + to)).ok();
    days.into_iter().map(hours).collect()
}

/// A day, or all from one up to another, on through the end of the week.
fn days_of(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
    let week = WEEK / DAY;
    let count = (last + week - first) % week;
    Some((first..=first + count).map(|day| day % week).collect())
}

fn day(text: &str) -> Option<u16> {
    let place = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text))?;
    u16::try_from(place).ok()
}

/// Of a day, from 00:00 to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= DAY).then_some(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_minutes_of_a_week() {
        let days = |days: &[u16], from: u16, to: u16| {
            let hours = days.iter().map(|day| (day * DAY + from, day * DAY + to));
            Some(hours.map(|hours| hours.try_into().unwrap()).collect())
        };
        for (text, expected) in [
            ("Mon-Fri 08:00-18:00", days(&[0, 1, 2, 3, 4], 480, 1080)),
            ("mon 00:00-24:00", days(&[0], 0, DAY)),
            ("Sun 22:00-06:00", days(&[6], 1320, 1800)),
            ("Sat-Mon 10:30-10:31", days(&[5, 6, 0], 630, 631)),
            ("Fri-Fri 10:00-11:00", days(&[4], 600, 660)),
            ("08:00-09:00", days(&[0, 1, 2, 3, 4, 5, 6], 480, 540)),
            ("23:59-00:00", days(&[0, 1, 2, 3, 4, 5, 6], 1439, DAY)),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        for text in [
            "",
            "Mon",
            "Mon-Fri",
            "Mon 8:00-18:00",
            "Mon 08:00",
            "Mon 08:00-08:00",
            "Mon 24:00-25:00",
            "Mon 08:60-09:00",
            "Mon 08:00-24:01",
            "Moon 08:00-09:00",
            "Mon-Moon 08:00-09:00",
            "Mon  08:00-09:00",
            "Mon 08:00 - 09:00",
            "24:00-08:00",
            "+8:00-09:00",
            "Mon 08:00-09:00 UTC",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }
}
