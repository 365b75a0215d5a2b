//! The judge that holds each value against its fixed limit.

use crate::check::{Arm, Breach, Checks, Metric, MetricKind, Window};
use crate::query::{Query, Subject};
use crate::reading::{Reading, Readings};
use crate::verdict::{MetricVerdict, Outcome, Requests, Verdict};

/// A canary is not blamed for breaking a limit up to this many times as far as stable does. Two
/// arms that suffer from the same cause differ by chance and by how many pods they have; twice is
/// generous to the canary, and a canary that adds a fault of its own is soon beyond it.
const AS_BAD: f64 = 2.0;

/// What the answers of one check say. The whole verdict is the worst of its parts:
/// `Fail` > `Error` > `NoData` > `TooEarly` > `Pass`.
///
/// The requests are one part, as soon as anything rests on them: when there is a built-in metric,
/// no metric at all, or `min_requests` is not 0. Each arm that was asked about needs `min_requests`
/// (at least one); fewer is `TooEarly`, none known is `NoData`.
///
/// Each metric is a part, and the first line that applies decides:
///
/// | the canary's answer | outcome |
/// | --- | --- |
/// | none, or infinite | `Error` |
/// | built-in, and the canary's requests are too few or unknown | as the requests: three slow answers prove nothing |
/// | empty, or not a number (0/0) | `NoData` |
/// | beyond the limit | `Fail` |
/// | within | `Pass` |
///
/// A custom metric, a queue's length say, needs no requests to fail. What stable answers never
/// turns a metric's outcome: too few requests on stable only keep a check from passing, so that a
/// canary at weight 99 still fails by itself. Stable can only take the blame off the canary, see
/// [`Verdict::blames_canary`]: by breaking the same limit, on enough requests of its own, and at
/// least half as far as the canary.
pub fn judge(checks: &Checks, window: Window, readings: &Readings) -> Verdict {
    let (requests, arms) = requests(checks, readings);
    let metrics: Vec<_> = checks.metrics.iter().map(|m| metric(m, arms, readings)).collect();
    let worst = metrics.iter().map(|metric| metric.outcome).max();
    let outcome = worst.unwrap_or(Outcome::Pass).max(requests.outcome);
    Verdict { outcome, window, requests, metrics }
}

/// What the requests of each arm allow to say.
#[derive(Clone, Copy)]
struct Arms {
    canary: Outcome,
    /// `None`: not asked about.
    stable: Option<Outcome>,
}

fn requests(checks: &Checks, readings: &Readings) -> (Requests, Arms) {
    let min = needed(checks);
    let canary = readings.get(&Subject::Requests, Arm::Canary);
    let stable = readings.get(&Subject::Requests, Arm::Stable);
    let canary_value = number(canary);
    let stable_value = stable.map(|stable| number(Some(stable)));

    let arms = Arms {
        canary: enough(&canary_value, min),
        stable: stable_value.as_ref().map(|value| enough(value, min)),
    };
    let note = |arm: Arm, value: &Result<f64, Missing>| {
        let missing = value.as_ref().err().filter(|_| min > 0)?;
        Some(format!("{}: {}", arm, missing.why))
    };
    let requests = Requests {
        outcome: arms.stable.unwrap_or(Outcome::Pass).max(arms.canary),
        note: note(Arm::Canary, &canary_value)
            .or_else(|| stable_value.as_ref().and_then(|value| note(Arm::Stable, value))),
        canary: canary_value.ok(),
        stable: stable_value.and_then(Result::ok),
        min,
        query: promql(canary),
    };
    (requests, arms)
}

fn needed(checks: &Checks) -> u64 {
    let by_requests =
        checks.metrics.iter().any(|metric| matches!(metric.kind, MetricKind::Builtin(_)));
    if by_requests || checks.metrics.is_empty() {
        checks.min_requests.max(1)
    } else {
        checks.min_requests
    }
}

fn enough(value: &Result<f64, Missing>, min: u64) -> Outcome {
    match value {
        _ if min == 0 => Outcome::Pass,
        Err(missing) => missing.outcome,
        // Prometheus extrapolates an increase: what is 49.6 was 50.
        #[expect(clippy::cast_precision_loss, reason = "no window has 2^53 requests")]
        Ok(value) if value.round() < min as f64 => Outcome::TooEarly,
        Ok(_) => Outcome::Pass,
    }
}

fn metric(metric: &Metric, arms: Arms, readings: &Readings) -> MetricVerdict {
    let subject = Subject::Metric(metric.name.clone());
    let answer = readings.get(&subject, Arm::Canary);
    let canary = number(answer);
    let stable = number(readings.get(&subject, Arm::Stable)).ok();
    let by_requests = matches!(metric.kind, MetricKind::Builtin(_));

    let outcome = match &canary {
        Err(missing) if missing.outcome == Outcome::Error => Outcome::Error,
        _ if by_requests && arms.canary != Outcome::Pass => arms.canary,
        Err(missing) => missing.outcome,
        Ok(value) if metric.limit.breach(*value).is_some() => Outcome::Fail,
        Ok(_) => Outcome::Pass,
    };
    let stable_counts = !by_requests || arms.stable == Some(Outcome::Pass);
    let shared = match (&canary, stable) {
        (Ok(canary), Some(stable)) if stable_counts => {
            as_bad(metric.limit.breach(*canary), metric.limit.breach(stable))
        }
        _ => false,
    };
    MetricVerdict {
        name: metric.name.clone(),
        outcome,
        stable,
        limit: metric.limit,
        unit: metric.unit(),
        blames_canary: outcome == Outcome::Fail && !shared,
        query: promql(answer),
        note: canary.as_ref().err().map(|missing| missing.why.clone()),
        canary: canary.ok(),
    }
}

fn as_bad(canary: Option<Breach>, stable: Option<Breach>) -> bool {
    match (canary, stable) {
        (Some(Breach::Above(canary)), Some(Breach::Above(stable)))
        | (Some(Breach::Below(canary)), Some(Breach::Below(stable))) => canary <= AS_BAD * stable,
        _ => false,
    }
}

/// Why there is no number.
struct Missing {
    outcome: Outcome,
    why: String,
}

fn number(answer: Option<&(Query, Reading)>) -> Result<f64, Missing> {
    let missing = |outcome, why: &str| Err(Missing { outcome, why: why.to_owned() });
    match answer.map(|(_, reading)| reading) {
        Some(Reading::Value(value)) if value.is_nan() => {
            missing(Outcome::NoData, "the answer is not a number (0/0)")
        }
        Some(Reading::Value(value)) if value.is_infinite() => {
            missing(Outcome::Error, "the answer is infinite; does the query divide by 0?")
        }
        Some(Reading::Value(value)) => Ok(*value),
        Some(Reading::Empty) => missing(Outcome::NoData, "no series matches"),
        Some(Reading::Unavailable(why) | Reading::Rejected(why)) => missing(Outcome::Error, why),
        None => missing(Outcome::NoData, "not asked"),
    }
}

fn promql(answer: Option<&(Query, Reading)>) -> String {
    answer.map(|(query, _)| query.promql.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
