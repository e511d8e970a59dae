//! `date`, `sleep`, `time`, `timeout`: clocks.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

thread_local! {
    static BEGINNING: Instant = Instant::now();
    /// When `timeout` wants its command to end.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What a command ends with that `timeout` has ended: busybox's 128 + SIGTERM.
const TIMED_OUT: i32 = 128 + 15;

/// Since this program asked first.
pub(crate) fn seconds() -> u64 {
    BEGINNING.with(Instant::elapsed).as_secs()
}

/// What is left of `timeout`, for whoever is about to wait.
pub(crate) fn left() -> Option<Duration> {
    DEADLINE.get().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// Ends a command whose time is over. The shell asks before each command, and waits ask.
pub(crate) fn check() -> Result<(), Failure> {
    match left() {
        Some(Duration::ZERO) => Err(Failure::Exit(TIMED_OUT)),
        _ => Ok(()),
    }
}

/// `1.5`, `2m`, `inf`; `None` is for ever.
fn duration(text: &str) -> Result<Option<Duration>, Failure> {
    let wrong = || Failure::new(format!("invalid number '{text}'"));
    if matches!(text.to_ascii_lowercase().as_str(), "inf" | "infinity") {
        return Ok(None);
    }
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        Some((at, 'd')) => (&text[..at], 86400.0),
        _ => (text, 1.0),
    };
    if number.is_empty() || number.starts_with(['+', '-']) {
        return Err(wrong());
    }
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * unit;
    Duration::try_from_secs_f64(seconds).map(Some).or(Ok(None))
}

pub(super) fn sleep(call: &Call<'_>) -> Outcome {
    if call.args.is_empty() {
        return Err(call.usage("SECONDS..."));
    }
    let mut total = Some(Duration::ZERO);
    for text in call.args {
        total = total.zip(duration(text)?).and_then(|(total, more)| total.checked_add(more));
    }
    wait(total)
}

pub(super) fn usleep(call: &Call<'_>) -> Outcome {
    let micros = call.args.first().map(|text| crate::options::number(text)).transpose()?;
    wait(Some(Duration::from_micros(micros.unwrap_or(0))))
}

fn wait(time: Option<Duration>) -> Outcome {
    const YEAR: Duration = Duration::from_secs(365 * 86400);
    let limit = left();
    let wanted = time.unwrap_or(YEAR * 100).min(limit.unwrap_or(YEAR * 100));
    std::thread::sleep(wanted.min(YEAR));
    check()?;
    if time.is_none() { wait(time) } else { Ok(0) }
}

pub(super) fn time(call: &Call<'_>) -> Outcome {
    let args =
        if call.args.first().is_some_and(|arg| arg == "-p") { &call.args[1..] } else { call.args };
    let before = Instant::now();
    let outcome = call.run(args);
    let took = before.elapsed();
    let text = format!(
        "real\t{}m {:05.2}s\nuser\t0m 00.00s\nsys\t0m 00.00s\n",
        took.as_secs() / 60,
        took.as_secs_f64() % 60.0
    );
    call.streams.stderr.borrow_mut().write_all(text.as_bytes())?;
    outcome
}

/// Ends what waits: sleeps, connections, and shells between two commands. Nothing can stop a
/// computation from outside, as there is no outside in a guest.
pub(super) fn timeout(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "+s:k:t:", &[("signal", 's'), ("kill-after", 'k')])?;
    let (limit, words) = match (options.value('t'), options.operands.split_first()) {
        (Some(limit), _) => (limit.to_string(), &options.operands[..]),
        (None, Some((limit, words))) if !words.is_empty() => (limit.clone(), words),
        _ => return Err(call.usage("SECONDS COMMAND [ARGUMENT]...")),
    };
    let before = DEADLINE.get();
    let deadline = duration(&limit)?.and_then(|limit| Instant::now().checked_add(limit));
    DEADLINE.set([before, deadline].into_iter().flatten().min());
    let outcome = call.run(words);
    let over = left() == Some(Duration::ZERO);
    DEADLINE.set(before);
    match outcome {
        Err(Failure::Exit(TIMED_OUT)) if over => Ok(TIMED_OUT),
        outcome => outcome,
    }
}

/// A moment in UTC, the only zone that a guest without a zone file knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    weekday: i64,
    epoch: i64,
    nanos: u32,
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Days since 1970 of a date (Howard Hinnant, chrono-compatible low-level date algorithms).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Moment {
    pub(crate) fn of(time: SystemTime) -> Moment {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Moment::of_epoch(
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                since.subsec_nanos(),
            ),
            Err(before) => {
                Moment::of_epoch(-i64::try_from(before.duration().as_secs()).unwrap_or(0), 0)
            }
        }
    }

    fn of_epoch(epoch: i64, nanos: u32) -> Moment {
        let (whole, rest) = (epoch.div_euclid(86400), epoch.rem_euclid(86400));
        let shifted = whole + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Moment {
            year: year + era * 400 + i64::from(month <= 2),
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (whole + 4).rem_euclid(7),
            epoch,
            nanos,
        }
    }

    pub(crate) fn month_name(&self) -> &'static str {
        &MONTHS[usize::try_from(self.month - 1).unwrap_or(0)][..3]
    }

    pub(crate) fn format(&self, format: &str) -> String {
        let mut text = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let weekday = DAYS[usize::try_from(self.weekday).unwrap_or(0)];
            let month = MONTHS[usize::try_from(self.month - 1).unwrap_or(0)];
            let twelve = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
            let piece = match chars.next() {
                Some('Y') => self.year.to_string(),
                Some('y') => format!("{:02}", self.year.rem_euclid(100)),
                Some('C') => format!("{:02}", self.year / 100),
                Some('m') => format!("{:02}", self.month),
                Some('d') => format!("{:02}", self.day),
                Some('e') => format!("{:2}", self.day),
                Some('H') => format!("{:02}", self.hour),
                Some('I') => format!("{twelve:02}"),
                Some('M') => format!("{:02}", self.minute),
                Some('S') => format!("{:02}", self.second),
                Some('N') => format!("{:09}", self.nanos),
                Some('s') => self.epoch.to_string(),
                Some('j') => format!(
                    "{:03}",
                    days(self.year, self.month, self.day) - days(self.year, 1, 1) + 1
                ),
                Some('u') => (if self.weekday == 0 { 7 } else { self.weekday }).to_string(),
                Some('w') => self.weekday.to_string(),
                Some('a') => weekday[..3].to_string(),
                Some('A') => weekday.to_string(),
                Some('b' | 'h') => month[..3].to_string(),
                Some('B') => month.to_string(),
                Some('p') => (if self.hour < 12 { "AM" } else { "PM" }).to_string(),
                Some('Z') => "UTC".to_string(),
                Some('z') => "+0000".to_string(),
                Some('F') => self.format("%Y-%m-%d"),
                Some('T') => self.format("%H:%M:%S"),
                Some('R') => self.format("%H:%M"),
                Some('D' | 'x') => self.format("%m/%d/%y"),
                Some('X') => self.format("%H:%M:%S"),
                Some('c') => self.format("%a %b %e %H:%M:%S %Y"),
                Some('n') => "\n".to_string(),
                Some('t') => "\t".to_string(),
                Some('%') => "%".to_string(),
                Some(other) => format!("%{other}"),
                None => "%".to_string(),
            };
            text.push_str(&piece);
        }
        text
    }
}

/// `@seconds`, `2026-11-23`, `2026-11-23 04:45[:10]`, with a `T` and a `Z` if they are there.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let epoch = match text.strip_prefix('@') {
        Some(seconds) => seconds.split('.').next()?.parse::<i64>().ok()?,
        None => {
            let text = text.trim_end_matches('Z').replacen('T', " ", 1);
            let (date, clock) = text.split_once(' ').unwrap_or((&text, "0:0"));
            let numbers = |text: &str, sign: char| {
                text.split(sign).map(|part| part.parse::<i64>().ok()).collect::<Option<Vec<_>>>()
            };
            let clock = clock.split('.').next()?;
            let (date, clock) = (numbers(date, '-')?, numbers(clock, ':')?);
            let [year, month @ 1..=12, day @ 1..=31] = date[..] else { return None };
            let (hour, minute) = (*clock.first()?, clock.get(1).copied().unwrap_or(0));
            days(year, month, day) * 86400
                + hour * 3600
                + minute * 60
                + clock.get(2).copied().unwrap_or(0)
        }
    };
    let since = Duration::from_secs(epoch.unsigned_abs());
    if epoch < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) }
}

pub(super) fn date(call: &Call<'_>) -> Outcome {
    let long = [
        ("utc", 'u'),
        ("date", 'd'),
        ("reference", 'r'),
        ("rfc-email", 'R'),
        ("iso-8601", 'I'),
        ("set", 's'),
    ];
    // `-I`'s value is part of its word.
    let precision = call.args.iter().find_map(|arg| arg.strip_prefix("-I")).map(str::to_string);
    let args: Vec<String> =
        call.args.iter().filter(|arg| !arg.starts_with("-I")).cloned().collect();
    let options = Options::parse(&args, "ud:r:Rs:D:I", &long)?;
    if options.has('s') {
        return Err(Failure::new("can't set date: WASI does not let a guest set the clock"));
    }
    let time = match (options.value('d'), options.value('r')) {
        (Some(text), _) => {
            parse(text).ok_or_else(|| Failure::new(format!("invalid date '{text}'")))?
        }
        (None, Some(name)) => {
            let file = std::fs::metadata(name).and_then(|file| file.modified());
            file.map_err(|error| Failure::of(name, &error))?
        }
        (None, None) => SystemTime::now(),
    };
    let iso = precision.or_else(|| options.value('I').map(str::to_string));
    let format =
        match (options.operands.first().and_then(|word| word.strip_prefix('+')), iso.as_deref()) {
            (Some(format), _) => format,
            (None, Some("seconds" | "s")) => "%Y-%m-%dT%H:%M:%S+00:00",
            (None, Some("minutes" | "m")) => "%Y-%m-%dT%H:%M+00:00",
            (None, Some("hours" | "h")) => "%Y-%m-%dT%H+00:00",
            (None, Some(_)) => "%Y-%m-%d",
            (None, None) if options.has('R') => "%a, %d %b %Y %H:%M:%S +0000",
            (None, None) => "%a %b %e %H:%M:%S UTC %Y",
        };
    writeln!(call.out(), "{}", Moment::of(time).format(format))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let time = parse(text).expect("a date");
        assert_eq!(Moment::of(time).format("%F %T %j %a %s"), expected, "{text}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        check("@0", "1970-01-01 00:00:00 001 Thu 0");
        check("2026-11-23 04:45", "2026-11-23 04:45:00 327 Mon 1795409100");
        check("2024-02-29T23:59:59Z", "2024-02-29 23:59:59 060 Thu 1709251199");
        check("2000-03-01", "2000-03-01 00:00:00 061 Wed 951868800");
        check("1969-12-31", "1969-12-31 00:00:00 365 Wed -86400");
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("0", 0), ("1.5", 1500), ("2m", 120_000), ("1d", 86_400_000), ("0.01s", 10)]
        {
            assert_eq!(
                duration(text).expect("valid"),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(duration("inf").expect("valid"), None);
        assert!(duration("x").is_err() && duration("").is_err() && duration("-1").is_err());
    }
}
