//! From metrics to a verdict, as plain functions over plain data: which queries a check needs
//! ([`queries`]), and what their answers say about the canary ([`judge`]) and about the split
//! ([`share`](share())).
//!
//! Asking is done elsewhere, by a metric source: nothing here knows a clock, a network or Kubernetes.

mod check;
mod query;
mod reading;
mod sentence;
mod share;
mod template;
mod threshold;
mod verdict;

pub use check::{Arm, Builtin, Checks, Limit, Metric, MetricKind, Unit, Window};
pub use query::{
    ArmContext, PodAddress, Profile, Protocol, Query, QueryError, Reporter, Subject, queries,
    requests,
};
pub use reading::{Reading, Readings};
pub use share::{Observed, Share, share};
pub use template::{TemplateError, lint};
pub use threshold::judge;
pub use verdict::{MetricVerdict, Outcome, Requests, Verdict};
