//! The series of each canary, kept together so that they go together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use analysis::{Limit, Outcome, Verdict};
use api::CanaryStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

const NO_EXEMPLAR: Option<&Exemplar<[(&str, &str); 0], u64>> = None;

/// By namespace and name: what is exported comes in this order.
type ByName = BTreeMap<(String, String), Series>;

/// The series of all canaries; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Canaries(Arc<Mutex<ByName>>);

/// What is exported of one canary.
#[derive(Debug)]
pub(super) struct Series {
    /// Empty as long as no status was seen.
    phase: String,
    /// Percent, by kind.
    weights: Vec<(&'static str, f64)>,
    step: Option<u32>,
    values: Vec<Value>,
    /// By metric, of the last check.
    limits: BTreeMap<String, Limit>,
    /// By verdict.
    checks: BTreeMap<String, u64>,
    decisions: BTreeMap<&'static str, u64>,
    /// By outcome and cause.
    runs: BTreeMap<(String, String), u64>,
}

/// A metric of the run that is on, as the last check saw it.
#[derive(Debug)]
struct Value {
    metric: String,
    canary: Option<f64>,
    stable: Option<f64>,
}

/// One line of a family, but for the canary's name.
type Sample<'a, N> = (Vec<(&'static str, &'a str)>, N);

impl Default for Series {
    fn default() -> Self {
        use Outcome::{Error, Fail, NoData, Pass, TooEarly};
        Self {
            phase: String::new(),
            weights: Vec::new(),
            step: None,
            values: Vec::new(),
            limits: BTreeMap::new(),
            // From 0 on, so that a rate sees the first one.
            checks: [Pass, TooEarly, NoData, Error, Fail]
                .map(|outcome| (outcome.to_string(), 0))
                .into(),
            decisions: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }
}

impl Series {
    pub(super) fn observe(&mut self, status: &CanaryStatus) {
        status.phase.clone_into(&mut self.phase);
        self.weights.clear();
        if let Some(traffic) = &status.traffic {
            self.weights.push(("intended", traffic.intended.into()));
            self.weights.push(("stored", traffic.stored.into()));
            self.weights.extend(traffic.observed.map(|percent| ("observed", percent)));
        }
        // The status keeps the last run's numbers for people to read; as series they would go on as if they were measured.
        let on = status.run.as_ref().filter(|run| run.ended_at.is_none());
        self.step = on.map(|run| run.step);
        self.values.clear();
        if on.is_some() {
            self.values.extend(status.metrics.iter().map(|metric| Value {
                metric: metric.name.clone(),
                canary: metric.canary,
                stable: metric.stable,
            }));
        }
    }

    pub(super) fn check(&mut self, verdict: &Verdict) {
        *self.checks.entry(verdict.outcome.to_string()).or_default() += 1;
        self.limits = verdict.metrics.iter().map(|m| (m.name.clone(), m.limit)).collect();
    }

    pub(super) fn reason(&mut self, reason: &'static str) {
        *self.decisions.entry(reason).or_default() += 1;
    }

    pub(super) fn ended(&mut self, outcome: &str, cause: &str) {
        *self.runs.entry((outcome.to_owned(), cause.to_owned())).or_default() += 1;
    }

    fn phases(&self) -> Vec<Sample<'_, f64>> {
        let known = (!self.phase.is_empty()).then_some(self.phase.as_str());
        known.map(|phase| (vec![("phase", phase)], 1.0)).into_iter().collect()
    }

    fn weights(&self) -> Vec<Sample<'_, f64>> {
        self.weights.iter().map(|(kind, percent)| (vec![("kind", *kind)], *percent)).collect()
    }

    fn steps(&self) -> Vec<Sample<'_, f64>> {
        self.step.map(|step| (Vec::new(), step.into())).into_iter().collect()
    }

    fn values(&self) -> Vec<Sample<'_, f64>> {
        pairs(&self.values, "arm", |value| {
            (value.metric.as_str(), [("canary", value.canary), ("stable", value.stable)])
        })
    }

    /// Of the metrics that have a line of values only: the others are an earlier plan's.
    fn limits(&self) -> Vec<Sample<'_, f64>> {
        pairs(&self.values, "bound", |value| {
            let limit = self.limits.get(&value.metric).copied().unwrap_or_default();
            (value.metric.as_str(), [("min", limit.min), ("max", limit.max)])
        })
    }

    fn checks(&self) -> Vec<Sample<'_, u64>> {
        self.checks.iter().map(|(verdict, n)| (vec![("verdict", verdict.as_str())], *n)).collect()
    }

    fn decisions(&self) -> Vec<Sample<'_, u64>> {
        self.decisions.iter().map(|(reason, n)| (vec![("reason", *reason)], *n)).collect()
    }

    fn runs(&self) -> Vec<Sample<'_, u64>> {
        let ended = self.runs.iter();
        ended
            .map(|((outcome, cause), n)| {
                (vec![("outcome", outcome.as_str()), ("cause", cause)], *n)
            })
            .collect()
    }
}

impl Canaries {
    pub(super) fn update(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Series)) {
        change(self.all().entry((namespace.to_owned(), name.to_owned())).or_default());
    }

    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.all().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Nobody leaves anything half done behind, so a poisoned lock is as good as any.
    fn all(&self) -> MutexGuard<'_, ByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Canaries {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let all = &*self.all();
        let to = &mut to;
        gauges(to, all, "canary_phase", "1 for the phase that the canary is in.", Series::phases)?;
        gauges(
            to,
            all,
            "canary_weight_percent",
            "The canary's share of the traffic: what is meant, what the route says, what the metrics saw.",
            Series::weights,
        )?;
        gauges(
            to,
            all,
            "canary_step",
            "The step that the run is at, from 1; absent without a run.",
            Series::steps,
        )?;
        gauges(
            to,
            all,
            "canary_metric_value",
            "What the last check of the run saw, in the metric's own unit.",
            Series::values,
        )?;
        gauges(
            to,
            all,
            "canary_metric_limit",
            "What the value may be, in the metric's own unit.",
            Series::limits,
        )?;
        counters(to, all, "checks", "Checks that were counted, by verdict.", Series::checks)?;
        counters(
            to,
            all,
            "decisions",
            "Decisions that changed something, by reason.",
            Series::decisions,
        )?;
        counters(to, all, "runs", "Runs that have ended.", Series::runs)
    }
}

fn gauges<'a>(
    to: &mut DescriptorEncoder<'_>,
    all: &'a ByName,
    name: &str,
    help: &str,
    samples: impl Fn(&'a Series) -> Vec<Sample<'a, f64>>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in lines(all, samples) {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn counters<'a>(
    to: &mut DescriptorEncoder<'_>,
    all: &'a ByName,
    name: &str,
    help: &str,
    samples: impl Fn(&'a Series) -> Vec<Sample<'a, u64>>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in lines(all, samples) {
        family.encode_family(&labels)?.encode_counter(&value, NO_EXEMPLAR)?;
    }
    Ok(())
}

/// The samples of every canary, each with the canary's name in front.
fn lines<'a, N>(
    all: &'a ByName,
    samples: impl Fn(&'a Series) -> Vec<Sample<'a, N>>,
) -> impl Iterator<Item = Sample<'a, N>> {
    all.iter().flat_map(move |((namespace, name), series)| {
        samples(series).into_iter().map(move |(labels, value)| {
            let whose = [("namespace", namespace.as_str()), ("name", name.as_str())];
            (whose.into_iter().chain(labels).collect(), value)
        })
    })
}

/// For each metric the two numbers that there may be of it, told apart by `label`.
fn pairs<'a>(
    values: &'a [Value],
    label: &'static str,
    of: impl Fn(&'a Value) -> (&'a str, [(&'static str, Option<f64>); 2]),
) -> Vec<Sample<'a, f64>> {
    let lines = values.iter().flat_map(|value| {
        let (metric, numbers) = of(value);
        numbers.map(|(which, number)| {
            number.map(|number| (vec![("metric", metric), (label, which)], number))
        })
    });
    lines.flatten().collect()
}
