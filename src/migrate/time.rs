//! Instants as other systems write them.

use std::time::{Duration, SystemTime};

use time::format_description::well_known::Iso8601;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// Offsets are whole quarters of an hour everywhere.
const QUARTER: i64 = 15 * 60;
/// No zone is further from UTC.
const FURTHEST: i64 = 14 * 3600;
/// How far apart two readings of one clock may be, in seconds.
const APART: i64 = 60;

/// An instant, or what a clock on some wall showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Instant(SystemTime),
    /// Without an offset: as if it were UTC.
    Naive(SystemTime),
}

impl Written {
    /// `2026-11-23T17:45:42[.886408][Z|+00:00]`, with a `T` or a space.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = match text.as_bytes().get(10) {
            Some(b' ') => format!("{}T{}", &text[..10], &text[11..]).into(),
            _ => std::borrow::Cow::Borrowed(text),
        };
        if let Ok(instant) = OffsetDateTime::parse(&text, &Iso8601::PARSING) {
            return past_1970(instant).map(Self::Instant);
        }
        let naive = PrimitiveDateTime::parse(&text, &Iso8601::PARSING).ok()?;
        past_1970(naive.assume_utc()).map(Self::Naive)
    }

    /// The instant, where a naive one is of this offset.
    pub(super) fn at(self, offset: UtcOffset) -> SystemTime {
        match self {
            Self::Instant(at) => at,
            Self::Naive(at) => earlier(at, i64::from(offset.whole_seconds())),
        }
    }
}

fn past_1970(at: OffsetDateTime) -> Option<SystemTime> {
    (at.unix_timestamp() >= 0).then(|| at.into())
}

fn earlier(at: SystemTime, seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 {
        at.checked_add(span)
    } else {
        at.checked_sub(span)
    };
    moved
        .unwrap_or(SystemTime::UNIX_EPOCH)
        .max(SystemTime::UNIX_EPOCH)
}

/// The offset of a clock that showed `naive` when it was `instant`, if there is such a zone.
pub(super) fn offset(naive: SystemTime, instant: SystemTime) -> Option<UtcOffset> {
    let seconds = |at: SystemTime| {
        at.duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|span| i64::try_from(span.as_secs()).ok())
    };
    let apart = seconds(naive)? - seconds(instant)?;
    let rounded = (apart + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
    if (apart - rounded).abs() > APART || rounded.abs() > FURTHEST {
        return None;
    }
    UtcOffset::from_whole_seconds(i32::try_from(rounded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_435_200;

    fn at(seconds: u64, micros: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros)
    }

    #[test]
    fn every_form_in_the_field_is_read() {
        for (text, expected) in [
            (
                "2026-11-23T12:00:00.886408",
                Written::Naive(at(NOON, 886_408)),
            ),
            ("2026-11-23T12:00:00", Written::Naive(at(NOON, 0))),
            (
                "2026-11-23 12:00:00.886408",
                Written::Naive(at(NOON, 886_408)),
            ),
            (
                "2026-11-23T12:00:00.886408+00:00",
                Written::Instant(at(NOON, 886_408)),
            ),
            ("2026-11-23T12:00:00+00:00", Written::Instant(at(NOON, 0))),
            ("2026-11-23T14:00:00+02:00", Written::Instant(at(NOON, 0))),
            ("2026-11-23T12:00:00Z", Written::Instant(at(NOON, 0))),
            (
                "2026-11-23T12:00:00.886Z",
                Written::Instant(at(NOON, 886_000)),
            ),
        ] {
            assert_eq!(Written::parse(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "1795435200",
            "2026-13-01T00:00:00",
            "2026-11-23T25:00:00",
            "1969-12-31T23:59:59Z",
            "2026-11-23T12:00:00.886408+0",
        ] {
            assert_eq!(Written::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_wall_clock_is_put_right_by_its_offset() {
        let east = UtcOffset::from_hms(5, 30, 0).unwrap();
        assert_eq!(Written::Naive(at(NOON + 19_800, 5)).at(east), at(NOON, 5));
        assert_eq!(Written::Instant(at(NOON, 0)).at(east), at(NOON, 0));
        assert_eq!(offset(at(NOON + 19_801, 0), at(NOON, 0)), Some(east));
        assert_eq!(
            offset(at(NOON - 3_590, 0), at(NOON, 0)),
            UtcOffset::from_hms(-1, 0, 0).ok()
        );
        assert_eq!(
            offset(at(NOON + 400, 0), at(NOON, 0)),
            None,
            "no zone is so"
        );
        assert_eq!(
            offset(at(NOON + 86_400, 0), at(NOON, 0)),
            None,
            "nor so far"
        );
    }
}
