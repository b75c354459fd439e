//! Times as Kubernetes writes them (RFC 3339, UTC), to the millisecond.

use berth_core::ids::Millis;

const DAY: u64 = 86_400_000;

/// A time as Kubernetes writes it, such as `2026-01-01T00:01:15.000Z`.
///
/// Days to civil date and back after Howard Hinnant, "chrono-compatible low-level date algorithms" (2013).
pub fn rfc3339(time: Millis) -> String {
    let (days, rest) = ((time.0 / DAY) as i64 + 719_468, time.0 % DAY);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

/// Reads what [`rfc3339`] wrote; `None` for anything else.
pub(crate) fn from_rfc3339(text: &str) -> Option<Millis> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let year_end = text.find('-').filter(|at| *at >= 4)?;
    let at = |offset: usize, len: usize| number(year_end + offset..year_end + offset + len);
    let (year, month, day) = (number(0..year_end)?, at(1, 2)?, at(4, 2)?);
    let (hour, minute, second, milli) = (at(7, 2)?, at(10, 2)?, at(13, 2)?, at(16, 3)?);
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let millis = days * DAY as i64 + ((hour * 60 + minute) * 60 + second) * 1000 + milli;
    u64::try_from(millis).ok().map(Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (4_107_542_400_123, "2100-03-01T00:00:00.123Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(rfc3339(Millis(millis)), text);
            assert_eq!(from_rfc3339(text), Some(Millis(millis)));
        }
        for day in 0..60_000_u64 {
            let time = Millis(day * DAY + 1234);
            assert_eq!(from_rfc3339(&rfc3339(time)), Some(time));
        }
        assert_eq!(from_rfc3339("yesterday"), None);
        assert_eq!(from_rfc3339("2024-é2-31T23:59:59.999Z"), None);
    }
}
