//! What a check found, with its evidence.

use std::fmt;

use crate::check::{Limit, Unit, Window};

/// In order of precedence: a verdict is the worst of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Pass,
    /// Too few requests to say anything yet.
    TooEarly,
    /// The source answers, but knows nothing about it.
    NoData,
    /// No usable answer.
    Error,
    Fail,
}

/// How much a verdict rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Requests {
    pub outcome: Outcome,
    /// In the window; `None` where there is no number.
    pub canary: Option<f64>,
    /// `None` also where stable was not asked about.
    pub stable: Option<f64>,
    /// Needed of each arm that was asked about; 0 when nothing rests on requests.
    pub min: u64,
    /// The canary's, as it was asked.
    pub query: String,
    /// Why there is no number where one is needed.
    pub note: Option<String>,
}

/// One metric's part of a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricVerdict {
    pub name: String,
    pub outcome: Outcome,
    pub canary: Option<f64>,
    pub stable: Option<f64>,
    pub limit: Limit,
    pub unit: Unit,
    /// It fails, and stable does not break the same limit about as much.
    pub blames_canary: bool,
    /// The canary's, as it was asked.
    pub query: String,
    /// Why there is no value.
    pub note: Option<String>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub window: Window,
    pub requests: Requests,
    /// In the order of the checks.
    pub metrics: Vec<MetricVerdict>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Pass => "Pass",
            Outcome::TooEarly => "TooEarly",
            Outcome::NoData => "NoData",
            Outcome::Error => "Error",
            Outcome::Fail => "Fail",
        })
    }
}

impl Verdict {
    /// The verdict in one line, with numbers: `p99 812 ms > 500 ms (stable 415 ms), 1,204 requests
    /// in 1m`. The same verdict always reads the same.
    pub fn sentence(&self) -> String {
        crate::sentence::of(self)
    }

    /// Whether at least one failing metric is the canary's own doing. False for a failure that both
    /// arms share: something else is wrong, and rolling back would not mend it.
    pub fn blames_canary(&self) -> bool {
        self.metrics.iter().any(|metric| metric.blames_canary)
    }
}
