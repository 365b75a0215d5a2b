//! What a check looks at: metrics with their limits, for two arms, over one window.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

/// The stretch of time that a check looks at. `end` is when its queries are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

/// One of the two revisions that serve at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    Canary,
    Stable,
}

/// What a value may be, both ends included. Without either end everything is within the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limit {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// How far a value is beyond a limit, always more than 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Breach {
    Above(f64),
    Below(f64),
}

/// How a value is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100.
    Percent,
    Milliseconds,
    /// A custom query's own, which nobody told us.
    Plain,
}

/// A metric whose queries come with the profile of the traffic system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Builtin {
    /// Share of requests not answered with a 5xx, in percent.
    RequestSuccessRate,
    /// Time to answer, in milliseconds, at `quantile` (0 to 1).
    RequestDuration { quantile: f64 },
}

#[derive(Clone, Debug, PartialEq)]
pub enum MetricKind {
    Builtin(Builtin),
    /// `PromQL` as a template; see [`crate::lint`] for the names it may use.
    Custom {
        query: String,
        variables: BTreeMap<String, String>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Unique within its [`Checks`].
    pub name: String,
    pub kind: MetricKind,
    pub limit: Limit,
}

/// What one check evaluates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    pub metrics: Vec<Metric>,
    /// Requests that each arm must have had in the window before metrics that are about requests
    /// say anything. 0 when the workload is not judged by requests at all.
    pub min_requests: u64,
}

impl Window {
    /// Never negative.
    pub fn length(&self) -> TimeDelta {
        (self.end - self.start).max(TimeDelta::zero())
    }
}

impl Limit {
    pub(crate) fn breach(&self, value: f64) -> Option<Breach> {
        match (self.min, self.max) {
            (Some(min), _) if value < min => Some(Breach::Below(min - value)),
            (_, Some(max)) if value > max => Some(Breach::Above(value - max)),
            _ => None,
        }
    }
}

impl Metric {
    pub fn unit(&self) -> Unit {
        match &self.kind {
            MetricKind::Builtin(Builtin::RequestSuccessRate) => Unit::Percent,
            MetricKind::Builtin(Builtin::RequestDuration { .. }) => Unit::Milliseconds,
            MetricKind::Custom { .. } => Unit::Plain,
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arm::Canary => "canary",
            Arm::Stable => "stable",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, ">= {min} and <= {max}"),
            (Some(min), None) => write!(f, ">= {min}"),
            (None, Some(max)) => write!(f, "<= {max}"),
            (None, None) => f.write_str("no limit"),
        }
    }
}
