use chrono::{DateTime, TimeDelta, Utc};

pub(crate) type Time = DateTime<Utc>;

/// Where every story begins.
pub(crate) fn start() -> Time {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub(crate) fn after(seconds: i64) -> Time {
    start() + TimeDelta::seconds(seconds)
}

pub(crate) fn secs(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}
