//! Numbers as people read them.

/// Below this a count is shown digit by digit.
const EXACT_BELOW: u64 = 10_000;

/// Decimal steps and their SI letters (k for thousand, and so on).
const STEPS: [(u64, &str); 6] = [
    (1_000_000_000_000_000_000, "E"),
    (1_000_000_000_000_000, "P"),
    (1_000_000_000_000, "T"),
    (1_000_000_000, "G"),
    (1_000_000, "M"),
    (1_000, "k"),
];

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How many flows, with their verb: `1 flow remains`, `37 flows remain`. To the last one: operators wait for them.
pub(in crate::cli) fn flows_remain(flows: u64) -> String {
    if flows == 1 { "1 flow remains".to_owned() } else { format!("{flows} flows remain") }
}

/// A count: `9999`, `12.3 k`, `1.2 M`. Cut, not rounded, so that it never shows more than there is.
pub(super) fn count(value: u64) -> String {
    if value < EXACT_BELOW {
        return value.to_string();
    }
    scaled(value).0
}

/// A number of bytes: `999 B`, `1.2 kB`, `3.4 GB`; decimal.
pub(super) fn bytes(value: u64) -> String {
    let (text, scaled) = scaled(value);
    if scaled { text + "B" } else { text + " B" }
}

fn scaled(value: u64) -> (String, bool) {
    for (step, letter) in STEPS {
        if value >= step {
            let (whole, tenth) = (value / step, value % step / (step / 10));
            return (format!("{whole}.{tenth} {letter}"), true);
        }
    }
    (value.to_string(), false)
}

/// An age by its two largest units: `12s`, `3m 5s`, `2h 0m`, `4d 3h`.
pub(in crate::cli) fn age(seconds: u64) -> String {
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m {}s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{}h {}m", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{}d {}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// How long ago something was: `850 ms`, `9.1 s`, from a minute on by its two largest units.
pub(super) fn ago(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => age(milliseconds / 1_000),
    }
}

/// A short duration: `850 µs`, `12.3 ms`, `1.2 s`.
pub(super) fn latency(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{}.{} ms", microseconds / 1_000, microseconds % 1_000 / 100),
        _ => format!("{}.{} s", microseconds / 1_000_000, microseconds % 1_000_000 / 100_000),
    }
}

/// A share with one decimal: `33.3 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{share:.1} %")
}

/// How much of a capacity is used: `12.5 %`.
pub(super) fn use_of(used: u64, capacity: u64) -> String {
    if capacity == 0 {
        return "-".to_owned();
    }
    let thousandths = u128::from(used) * 1_000 / u128::from(capacity);
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_while_short_and_never_round_up() {
        let texts = [0, 9_999, 10_000, 12_399, 999_999, 1_250_000, u64::MAX].map(count);
        assert_eq!(texts, ["0", "9999", "10.0 k", "12.3 k", "999.9 k", "1.2 M", "18.4 E"]);
    }

    #[test]
    fn bytes_are_decimal() {
        let texts = [0, 999, 1_000, 1_536, 3_400_000_000].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "1.5 kB", "3.4 GB"]);
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let texts = [0, 59, 60, 185, 3_600, 7_500, 86_400, 356_400].map(age);
        assert_eq!(texts, ["0s", "59s", "1m 0s", "3m 5s", "1h 0m", "2h 5m", "1d 0h", "4d 3h"]);
    }

    #[test]
    fn latencies_and_shares_have_one_decimal() {
        assert_eq!(
            [0, 999, 1_000, 12_345, 1_250_000].map(latency),
            ["0 µs", "999 µs", "1.0 ms", "12.3 ms", "1.2 s"]
        );
        assert_eq!([0, 999, 9_199, 59_999, 61_000].map(ago), ["0 ms", "999 ms", "9.1 s", "59.9 s", "1m 1s"]);
        assert_eq!(percent(100.0 / 3.0), "33.3 %");
        assert_eq!(use_of(3, 4_096), "0.0 %");
        assert_eq!(use_of(u64::MAX, u64::MAX), "100.0 %");
        assert_eq!(use_of(0, 0), "-");
    }
}
