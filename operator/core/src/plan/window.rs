//! Windows: times when nodes may be changed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::crd::Window;

#[derive(Debug, thiserror::Error)]
#[error("rollout.windows: {cron:?} in the time zone {zone:?} is none")]
pub(super) struct BadWindow {
    cron: String,
    zone: String,
    source: cronexpr::Error,
}

/// Whether one of them is open; always, if there are none.
pub(super) fn open(windows: &[Window], now: Timestamp) -> Result<bool, BadWindow> {
    let mut open = windows.is_empty();
    for window in windows {
        open |= one(window, now)?;
    }
    Ok(open)
}

/// # Errors
/// The first window that is none.
pub(super) fn check(windows: &[Window]) -> Result<(), BadWindow> {
    open(windows, Timestamp::UNIX_EPOCH).map(drop)
}

/// A window is open if it opened within its duration: from that minute on, and not at its end.
fn one(window: &Window, now: Timestamp) -> Result<bool, BadWindow> {
    let bad =
        |source| BadWindow { cron: window.cron.clone(), zone: window.time_zone.clone(), source };
    let expression = format!("{} {}", window.cron, window.time_zone);
    let crontab = cronexpr::parse_crontab(&expression).map_err(bad)?;
    let length = SignedDuration::try_from(Duration::from(window.duration)).unwrap_or_default();
    let before = now.saturating_sub(length).unwrap_or(Timestamp::UNIX_EPOCH);
    let opened = crontab.find_next(cronexpr::MakeTimestamp(before)).map_err(bad)?;
    Ok(opened.timestamp() <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cron: &str, hours: u64, zone: &str, now: &str) -> bool {
        let window = Window {
            cron: cron.into(),
            duration: Duration::from_secs(3600 * hours).into(),
            time_zone: zone.into(),
        };
        open(&[window], now.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_minute_for_its_duration() {
        let nights = |now| at("0 2 * * 1-5", 3, "UTC", now);
        assert!(!nights("2026-11-23T01:59:59Z"));
        assert!(nights("2026-11-23T02:00:00Z"));
        assert!(nights("2026-11-23T04:59:59Z"));
        assert!(!nights("2026-11-23T05:00:00Z"));
        // A Sunday.
        assert!(!nights("2026-11-22T02:30:00Z"));
    }

    #[test]
    fn a_window_is_of_its_zone_in_summer_and_in_winter() {
        let prague = |now| at("0 2 * * *", 1, "Europe/Prague", now);
        assert!(prague("2026-11-23T01:30:00Z") && !prague("2026-11-23T02:30:00Z"));
        assert!(prague("2026-07-23T00:30:00Z") && !prague("2026-07-23T01:30:00Z"));
    }

    #[test]
    fn a_window_over_midnight_is_open_on_both_sides() {
        let late = |now| at("0 23 * * 5", 2, "UTC", now);
        assert!(late("2026-11-27T23:30:00Z") && late("2026-11-28T00:30:00Z"));
        assert!(!late("2026-11-28T01:30:00Z"));
    }

    #[test]
    fn what_is_no_window_is_told_and_never_open() {
        let window = |cron: &str, zone: &str| Window {
            cron: cron.into(),
            duration: Duration::from_secs(60).into(),
            time_zone: zone.into(),
        };
        assert!(check(&[window("0 25 * * *", "UTC")]).is_err());
        assert!(check(&[window("0 2 * * *", "Mars/Olympus")]).is_err());
        assert!(check(&[window("0 2 * * *", "UTC")]).is_ok());
    }
}
