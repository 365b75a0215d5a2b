//! The judge that holds each value against its fixed limit.

use crate::check::{Checks, Window};
use crate::reading::Readings;
use crate::verdict::{Outcome, Requests, Verdict};

/// What the answers of one check say.
pub fn judge(checks: &Checks, window: Window, readings: &Readings) -> Verdict {
    let _ = readings;
    let requests = Requests {
        outcome: Outcome::NoData,
        canary: None,
        stable: None,
        min: checks.min_requests,
        query: String::new(),
        note: None,
    };
    Verdict { outcome: Outcome::NoData, window, requests, metrics: Vec::new() }
}
