//! The shim's log: the FIFO `log` in the bundle, which containerd copies into its own log.
//!
//! Opened for both ways, so that it opens while containerd is away, and without waiting: a line
//! that finds the FIFO full is dropped. A shim that waited for its log would stop with containerd.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{Mode, OFlags};

struct Logger {
    fifo: File,
}

pub(crate) fn init(bundle: &Path, debug: bool) {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // No log is no reason not to run: a bundle made by hand has none.
    let Ok(fifo) = rustix::fs::open(bundle.join("log"), flags, Mode::empty()) else { return };
    if log::set_boxed_logger(Box::new(Logger { fifo: fifo.into() })).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // ttrpc calls every lost connection an error; with containerd away that is no news.
        !metadata.target().starts_with("ttrpc") || log::max_level() >= LevelFilter::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = line(
            &rfc3339(crate::lifeline::now().seconds),
            record.level(),
            &record.args().to_string(),
        );
        // One write, so that lines of several threads don't mix (below PIPE_BUF, pipe(7)).
        let _ = (&self.fifo).write(text.as_bytes());
    }

    fn flush(&self) {}
}

/// As logrus writes it, which containerd's readers expect.
fn line(time: &str, level: Level, message: &str) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    };
    format!("time=\"{time}\" level={level} msg={message:?}\n")
}

/// Seconds since the epoch as a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_logrus_writes_it() {
        assert_eq!(
            line(&rfc3339(1_795_392_000), Level::Warn, "a \"b\"\nc"),
            "time=\"2026-11-23T00:00:00Z\" level=warning msg=\"a \\\"b\\\"\\nc\"\n"
        );
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}
