//! Text from the wire on its way to a terminal: harmless, and of a known width.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What `write` writes.
pub(crate) fn written(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    match write(&mut out) {
        Ok(()) | Err(fmt::Error) => out,
    }
}

/// The text without what could act on a terminal or misplace what follows: control characters,
/// marks that reorder or join text, and characters that take up no room.
#[must_use]
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER })
            .collect(),
    )
}

fn is_harmless(c: char) -> bool {
    let invisible = matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !invisible && c.width().is_some_and(|width| width > 0)
}

/// The text, sanitised and cut to `width` columns. What was cut shows as `…`.
#[must_use]
pub(crate) fn fit(text: &str, width: usize) -> String {
    let text = sanitise(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns + 1 > width {
            break;
        }
        used += columns;
        out.push(c);
    }
    out.push('…');
    out
}

/// As [`fit`], and filled with spaces on the right to exactly `width` columns.
#[must_use]
pub(crate) fn column(text: &str, width: usize) -> String {
    let mut out = fit(text, width);
    let missing = width.saturating_sub(out.width());
    out.extend(std::iter::repeat_n(' ', missing));
    out
}

/// Microseconds in a unit that suits them, three digits: `8.2us`, `12.3ms`, `1.20s`, `17.0min`.
#[must_use]
pub(crate) fn duration(micros: f64) -> String {
    match micros {
        us if us < 999.5 => digits(us, "us"),
        us if us < 999_500.0 => digits(us / 1e3, "ms"),
        us if us < 120e6 => digits(us / 1e6, "s"),
        us => digits(us / 60e6, "min"),
    }
}

/// Bytes in a unit that suits them: `0B`, `999B`, `12.3K`, `1.20M`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes}B"),
        1000..999_500 => digits(bytes as f64 / 1e3, "K"),
        999_500..999_500_000 => digits(bytes as f64 / 1e6, "M"),
        _ => digits(bytes as f64 / 1e9, "G"),
    }
}

fn digits(value: f64, unit: &str) -> String {
    let mut out = String::new();
    let decimals = match value {
        value if value == 0.0 || value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    // Writing to a String cannot fail.
    if write!(out, "{value:.decimals$}{unit}").is_err() {
        out.clear();
    }
    out
}

/// Time of day in UTC, to the millisecond.
#[must_use]
pub(crate) fn time_of_day(unix_ns: u64) -> String {
    let millis = unix_ns / 1_000_000;
    let seconds = millis / 1000;
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}", millis % 1000)
}

/// Date and time of day in UTC, to the minute: `2026-11-21 12:03`.
#[must_use]
pub(crate) fn date_time(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000;
    let (year, month, day) = date(minutes / 1440);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        minutes / 60 % 24,
        minutes % 60
    )
}

/// `2024-02-29T12:00:01.230Z`: ISO 8601, as machines have it.
pub(crate) fn iso_8601(unix_ns: u64) -> String {
    let (year, month, day) = date(unix_ns / (86_400 * 1_000_000_000));
    format!("{year:04}-{month:02}-{day:02}T{}Z", time_of_day(unix_ns))
}

/// Year, month and day of a day since the Unix epoch, in the Gregorian calendar, counted in years
/// from March on (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        for text in [
            "\x1b[2J",
            "a\nb",
            "a\r",
            "\u{9b}31m",
            "\u{202e}abc",
            "\u{200b}",
            "\u{feff}",
            "\t",
            "\u{7f}",
            "\u{301}",
        ] {
            let out = sanitise(text);
            assert!(out.contains(char::REPLACEMENT_CHARACTER), "{text:?}");
            assert!(!out.chars().any(char::is_control), "{text:?}");
        }
        assert_eq!(sanitise("größe 日本 ✓"), "größe 日本 ✓");
    }

    #[test]
    fn columns() {
        assert_eq!(column("abc", 5), "abc  ");
        assert_eq!(column("abcdef", 5), "abcd…");
        assert_eq!(column("日本語", 5), "日本…");
        assert_eq!(column("日本語", 4), "日… ");
    }

    #[test]
    fn numbers() {
        let us: Vec<_> = [0.0, 0.02, 8.2, 999.4, 12_345.0, 999_600.0, 1.2e6, 1.02e9]
            .map(duration)
            .into();
        assert_eq!(
            us,
            [
                "0us", "0.02us", "8.20us", "999us", "12.3ms", "1.00s", "1.20s", "17.0min"
            ]
        );
        let bytes: Vec<_> = [0, 999, 1000, 12_345, 999_600, 5_000_000_000].map(size).into();
        assert_eq!(bytes, ["0B", "999B", "1.00K", "12.3K", "1.00M", "5.00G"]);
        assert_eq!(time_of_day(86_399_999_999_999), "23:59:59.999");
    }

    proptest! {
        #[test]
        fn always_as_wide_as_asked(text: String, width in 1usize..40) {
            let out = column(&text, width);
            prop_assert_eq!(out.width(), width);
            prop_assert!(!out.chars().any(char::is_control));
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date_time(0), "1970-01-01 00:00");
        assert_eq!(date_time(1_709_208_000_000), "2024-02-29 12:00");
        assert_eq!(date_time(1_767_225_599_999), "2025-12-31 23:59");
        assert_eq!(date_time(1_767_225_600_000), "2026-01-01 00:00");
        assert_eq!(iso_8601(1_709_208_001_230_999_999), "2024-02-29T12:00:01.230Z");
    }
}
