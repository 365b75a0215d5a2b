//! A verdict in one line.

use chrono::TimeDelta;

use crate::check::{Breach, Unit};
use crate::verdict::{MetricVerdict, Outcome, Verdict};

/// More than a double holds: past it two numbers are the same for every reader.
const MOST_DECIMALS: usize = 12;

pub(crate) fn of(verdict: &Verdict) -> String {
    let rest = basis(verdict);
    match verdict.outcome {
        Outcome::Fail => format!("{}{rest}", failures(verdict)),
        Outcome::Error | Outcome::NoData => without_a_value(verdict),
        Outcome::TooEarly => too_early(verdict),
        Outcome::Pass => match tightest(verdict) {
            Some(metric) if verdict.metrics.len() > 1 => {
                let all = verdict.metrics.len();
                format!("{} is the tightest of {all}{rest}", within(metric))
            }
            Some(metric) => format!("{}{rest}", within(metric)),
            None => format!("no limit to break{rest}"),
        },
    }
}

/// `, 1,204 requests in 1m`, or only ` in 1m` when nobody counted.
fn basis(verdict: &Verdict) -> String {
    let length = length(verdict.window.length());
    match verdict.requests.canary {
        Some(requests) => format!(", {} in {length}", plural(requests.round(), "request")),
        None => format!(" in {length}"),
    }
}

/// Every failing metric, those that blame the canary first.
fn failures(verdict: &Verdict) -> String {
    let mut failing: Vec<_> =
        verdict.metrics.iter().filter(|metric| metric.outcome == Outcome::Fail).collect();
    failing.sort_by_key(|metric| !metric.blames_canary);
    failing.into_iter().map(beyond).collect::<Vec<_>>().join("; ")
}

fn beyond(metric: &MetricVerdict) -> String {
    let broken = metric.canary.and_then(|value| {
        Some(match metric.limit.breach(value)? {
            Breach::Above(_) => (value, ">", metric.limit.max?),
            Breach::Below(_) => (value, "<", metric.limit.min?),
        })
    });
    let stable = if metric.blames_canary { "stable" } else { "stable breaks it too:" };
    compared(metric, broken, stable)
}

fn within(metric: &MetricVerdict) -> String {
    let kept =
        metric.canary.zip(nearest(metric)).map(|(value, (sign, limit))| (value, sign, limit));
    compared(metric, kept, "stable")
}

/// `p99 812 ms > 500 ms (stable 415 ms)`.
fn compared(metric: &MetricVerdict, how: Option<(f64, &str, f64)>, stable: &str) -> String {
    let (name, unit) = (&metric.name, metric.unit);
    let Some((value, sign, limit)) = how else { return name.clone() };
    let stable = metric
        .stable
        .map(|value| format!(" ({stable} {})", quantity(value, limit, unit)))
        .unwrap_or_default();
    format!("{name} {} {sign} {}{stable}", quantity(value, limit, unit), exactly(limit, unit))
}

fn without_a_value(verdict: &Verdict) -> String {
    let in_window = length(verdict.window.length());
    let requests = (verdict.requests.outcome == verdict.outcome)
        .then_some(("requests", verdict.requests.note.as_deref()));
    let mut silent = requests.into_iter().chain(
        verdict
            .metrics
            .iter()
            .filter(|metric| metric.outcome == verdict.outcome)
            .map(|metric| (metric.name.as_str(), metric.note.as_deref())),
    );
    let (name, note) = silent.next().unwrap_or(("requests", None));
    let more = match silent.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    match (verdict.outcome, note) {
        (Outcome::NoData, note) => {
            format!("no data for {name} in {in_window} ({}){more}", note.unwrap_or("no requests"))
        }
        (_, note) => format!("{name}: {}{more}", note.unwrap_or("no answer")),
    }
}

fn too_early(verdict: &Verdict) -> String {
    let requests = &verdict.requests;
    #[expect(clippy::cast_precision_loss, reason = "no window has 2^53 requests")]
    let min = requests.min as f64;
    let length = length(verdict.window.length());
    let of = |had: f64| format!("{} of {}", grouped(had.round(), 0), plural(min, "request"));
    match (requests.canary, requests.stable) {
        (Some(canary), _) if canary.round() < min => format!("{} in {length}", of(canary)),
        (_, Some(stable)) => format!("stable had {} in {length}", of(stable)),
        (canary, None) => format!("{} in {length}", of(canary.unwrap_or_default())),
    }
}

/// The metric with the least room left, as a share of its limit.
fn tightest(verdict: &Verdict) -> Option<&MetricVerdict> {
    let room = |metric: &MetricVerdict| {
        let (_, limit) = nearest(metric)?;
        let distance = (metric.canary? - limit).abs();
        Some(if limit == 0.0 { distance } else { distance / limit.abs() })
    };
    verdict
        .metrics
        .iter()
        .filter_map(|metric| Some((room(metric)?, metric)))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, metric)| metric)
}

/// The end of the limit that the value is closer to.
fn nearest(metric: &MetricVerdict) -> Option<(&'static str, f64)> {
    let value = metric.canary?;
    let min = metric.limit.min.map(|min| (">=", min));
    let max = metric.limit.max.map(|max| ("<=", max));
    min.into_iter()
        .chain(max)
        .min_by(|(_, a), (_, b)| (value - a).abs().total_cmp(&(value - b).abs()))
}

/// `value` with its unit, rounded for reading, but never across `limit` or onto it: "99 % < 99 %"
/// would be true and useless.
fn quantity(value: f64, limit: f64, unit: Unit) -> String {
    let rounded = |decimals: usize| format!("{value:.decimals$}").parse().unwrap_or(value);
    let mut decimals = decimals(value, unit);
    while decimals < MOST_DECIMALS && rounded(decimals).total_cmp(&limit) != value.total_cmp(&limit)
    {
        decimals += 1;
    }
    with_unit(&grouped(value, decimals), unit)
}

/// A limit as it was set, not rounded.
fn exactly(limit: f64, unit: Unit) -> String {
    let decimals = limit.to_string().split_once('.').map_or(0, |(_, fraction)| fraction.len());
    with_unit(&grouped(limit, decimals), unit)
}

fn with_unit(number: &str, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("{number} %"),
        Unit::Milliseconds => format!("{number} ms"),
        Unit::Plain => number.to_owned(),
    }
}

/// Three significant digits, two for what is below 1; a share close to 100 % needs two decimals
/// to say anything.
fn decimals(value: f64, unit: Unit) -> usize {
    match (unit, value.abs()) {
        (Unit::Percent, _) => 2,
        (_, size) if size >= 100.0 => 0,
        (_, size) if size >= 10.0 => 1,
        (_, size) if size >= 1.0 => 2,
        (_, size) if size < 1e-12 => 0,
        (_, mut size) => {
            let mut decimals = 1;
            while size < 1.0 && decimals < MOST_DECIMALS {
                size *= 10.0;
                decimals += 1;
            }
            decimals
        }
    }
}

/// With commas between thousands and without zeros at the end.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let fraction = fraction.trim_end_matches('0');
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    // What rounds to nothing has no sign.
    if out == "0" { out } else { format!("{sign}{out}") }
}

fn plural(count: f64, noun: &str) -> String {
    let ending = if count.total_cmp(&1.0).is_eq() { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(count, 0))
}

/// `1h`, `1m30s`, `30s`.
fn length(window: TimeDelta) -> String {
    let seconds = window.num_seconds();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let some: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if some.is_empty() { "0s".to_owned() } else { some.concat() }
}

#[cfg(test)]
mod tests;
