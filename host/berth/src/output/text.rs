//! Times, amounts and lists as people read them.

/// A time span in its two largest units, such as `2h05m` or `3d04h`.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d{hours:02}h")
    } else if hours > 0 {
        format!("{hours}h{minutes:02}m")
    } else if minutes > 0 {
        format!("{minutes}m{:02}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// Time since the start of a run, such as `01:02:03`; days in front where there are any, as `1d 02:03:04`.
pub(crate) fn clock(millis: u64) -> String {
    let seconds = millis / 1000;
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}");
    if days > 0 { format!("{days}d {time}") } else { time }
}

/// At most three decimals, without zeros at the end.
pub(crate) fn number(value: f64) -> String {
    // A sum of nothing is minus zero.
    let text = format!("{:.3}", value + 0.0);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// The first twelve digits of a digest; other words as they are.
pub(crate) fn short_digest(digest: &str) -> &str {
    if digest.len() == 64 && digest.is_ascii() { &digest[..12] } else { digest }
}

/// The empty string as a dash, for cells that must not look forgotten.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_units() {
        let shown = [0, 59_999, 60_000, 3_725_000, 100_000_000].map(span);
        assert_eq!(shown, ["0s", "59s", "1m00s", "1h02m", "1d03h"]);
    }

    #[test]
    fn numbers_lose_their_zeros() {
        assert_eq!([-0.0, 0.5, 3.06, 10.0, 1.23456].map(number), ["0", "0.5", "3.06", "10", "1.235"]);
    }
}
