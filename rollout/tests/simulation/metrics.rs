use analysis::{Limit, MetricVerdict, Outcome, Requests, Unit, Verdict, Window};
use rollout::Weight;

/// How the canary does, as its metrics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    Good,
    /// 5 % of its requests fail.
    Failing,
    /// Its p99 is beyond the limit.
    Slow,
    /// So is stable's.
    BothSlow,
    Silent,
    Erring,
    TooFew,
    /// Good, but its share of the requests isn't the weight's.
    Elsewhere,
}

impl Metrics {
    /// `weight`: what the route gives the canary.
    pub(crate) fn verdict(self, window: Window, weight: Weight) -> Verdict {
        let (outcome, requests) = match self {
            Self::Good | Self::Elsewhere => (Outcome::Pass, Some(1204.0)),
            Self::Failing | Self::Slow | Self::BothSlow => (Outcome::Fail, Some(1204.0)),
            Self::Silent => (Outcome::NoData, None),
            Self::Erring => (Outcome::Error, None),
            Self::TooFew => (Outcome::TooEarly, Some(7.0)),
        };
        let note = match self {
            Self::Silent => Some("canary: no series matches the query".to_owned()),
            Self::Erring => Some("canary: no answer from the metric source".to_owned()),
            Self::Good
            | Self::Failing
            | Self::Slow
            | Self::BothSlow
            | Self::TooFew
            | Self::Elsewhere => None,
        };
        let of_requests = if requests.is_some_and(|n| n > 50.0) { Outcome::Pass } else { outcome };
        let requests = Requests {
            outcome: of_requests,
            canary: requests,
            stable: Some(self.stable_requests(weight)),
            min: 50,
            query: String::new(),
            note: note.clone(),
        };
        let success = self.metric("success", 99.93, 99.95, Unit::Percent, outcome, note.clone());
        let p99 = self.metric("p99", 402.0, 415.0, Unit::Milliseconds, outcome, note);
        Verdict { outcome, window, requests, metrics: vec![success, p99] }
    }

    fn stable_requests(self, weight: Weight) -> f64 {
        let share = match self {
            Self::Elsewhere => (weight.percent() + 50) % 100,
            _ => weight.percent(),
        };
        match share {
            0 | 100 => 10_836.0,
            share => 1204.0 * f64::from(100 - share) / f64::from(share),
        }
    }

    fn metric(
        self,
        name: &str,
        good: f64,
        stable: f64,
        unit: Unit,
        outcome: Outcome,
        note: Option<String>,
    ) -> MetricVerdict {
        let success = unit == Unit::Percent;
        let (canary, stable, fails) = match self {
            Self::Failing if success => (Some(95.02), stable, true),
            Self::Slow if !success => (Some(812.0), stable, true),
            Self::BothSlow if !success => (Some(812.0), 790.0, true),
            Self::Silent | Self::Erring => (None, stable, false),
            Self::Good
            | Self::Failing
            | Self::Slow
            | Self::BothSlow
            | Self::TooFew
            | Self::Elsewhere => (Some(good), stable, false),
        };
        let passes_by_itself = outcome == Outcome::Fail && !fails;
        let limit = if success {
            Limit { min: Some(99.0), max: None }
        } else {
            Limit { min: None, max: Some(500.0) }
        };
        MetricVerdict {
            name: name.to_owned(),
            outcome: if passes_by_itself { Outcome::Pass } else { outcome },
            canary,
            stable: Some(stable),
            limit,
            unit,
            blames_canary: fails && self != Self::BothSlow,
            query: String::new(),
            note,
        }
    }
}
