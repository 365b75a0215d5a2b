//! What a check found, with its evidence.

use crate::check::{Limit, Unit, Window};

/// In order of precedence: the worst of its parts is what a verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Pass,
    /// Too few requests to say anything.
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
    pub stable: Option<f64>,
    /// Needed per arm.
    pub min: u64,
    pub query: String,
    /// Why there is no number.
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
    /// Failed, and stable does not break the same limit about as much.
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
    pub metrics: Vec<MetricVerdict>,
}

impl Verdict {
    /// The verdict in one line, with numbers.
    pub fn sentence(&self) -> String {
        String::new()
    }

    /// Whether at least one failing metric is the canary's own fault: stable does not break the
    /// same limit about as much.
    pub fn blames_canary(&self) -> bool {
        self.metrics.iter().any(|metric| metric.blames_canary)
    }
}
