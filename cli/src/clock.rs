//! The time of the machine that a person sits at.

use chrono::{DateTime, TimeDelta, Utc};

#[expect(clippy::disallowed_methods, reason = "the command line's one place that reads the clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// `4m10s`: the two largest units, which is what a person reads. Never negative: clocks differ.
pub(crate) fn span(d: TimeDelta) -> String {
    let s = d.num_seconds().max(0);
    match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, 0) => format!("{m}m"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, 0, _) => format!("{h}h"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, 0, ..) => format!("{d}d"),
        (d, h, ..) => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        let told = |s| span(TimeDelta::seconds(s));
        assert_eq!(
            [told(-3), told(0), told(59), told(60), told(250)],
            ["0s", "0s", "59s", "1m", "4m10s"]
        );
        assert_eq!([told(3600), told(5460), told(90_000)], ["1h", "1h31m", "1d1h"]);
    }
}
