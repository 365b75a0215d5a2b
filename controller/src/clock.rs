use std::fmt;

use chrono::{DateTime, SubsecRound, Utc};

/// The time, handed in: a simulation plays its own.
pub trait Clock: fmt::Debug + Send + Sync {
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> DateTime<Utc> {
        // Nobody reads more of a status than milliseconds.
        Utc::now().trunc_subsecs(3)
    }
}
