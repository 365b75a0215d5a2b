//! Which queries a check needs: the traffic system's own metrics, and the user's templates.

mod envoy_gateway;
mod promql;
mod traefik;

use std::fmt;

use crate::check::{Arm, Builtin, Checks, Metric, MetricKind, Window};
use crate::template::{self, TemplateError};

/// Whose metrics tell the two arms apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Traefik,
    EnvoyGateway,
}

/// A pod and where the proxy reaches it, at whichever port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodAddress {
    pub name: String,
    pub ip: String,
}

/// One arm as its metrics know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmContext {
    pub namespace: String,
    /// The Deployment's name.
    pub workload: String,
    /// The Service's name: the backend that the route gives a weight.
    pub service: String,
    /// The `HTTPRoute`s that split, of this namespace. Empty: any route of the namespace.
    pub routes: Vec<String>,
    /// Every pod that served this arm in the window, in any order.
    pub pods: Vec<PodAddress>,
}

/// What a query measures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Requests in the window: how much the other numbers rest on.
    Requests,
    /// The metric of that name in [`Checks`].
    Metric(String),
}

/// A question to a metric source, to be evaluated at the window's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub subject: Subject,
    pub arm: Arm,
    pub promql: String,
}

/// A metric whose query can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metric `{metric}`: its query can't be rendered")]
pub struct QueryError {
    pub metric: String,
    pub source: TemplateError,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Requests => f.write_str("requests"),
            Subject::Metric(name) => f.write_str(name),
        }
    }
}

/// The queries of one check: requests first, then the metrics in their order, canary before stable.
///
/// `stable` is absent when stable serves nothing. A custom query that reads the same for both arms
/// is asked once, as the canary's: a second answer would say nothing about stable.
pub fn queries(
    profile: Profile,
    checks: &Checks,
    canary: &ArmContext,
    stable: Option<&ArmContext>,
    window: Window,
) -> Result<Vec<Query>, QueryError> {
    let range = promql::range(window);
    let arms = || [Some((Arm::Canary, canary)), stable.map(|arm| (Arm::Stable, arm))];

    let mut all: Vec<Query> = Vec::new();
    for (arm, context) in arms().into_iter().flatten() {
        all.push(Query {
            subject: Subject::Requests,
            arm,
            promql: requests(profile, context, &range),
        });
    }
    for metric in &checks.metrics {
        let subject = Subject::Metric(metric.name.clone());
        for (arm, context) in arms().into_iter().flatten() {
            let promql = render(profile, metric, context, &range)
                .map_err(|source| QueryError { metric: metric.name.clone(), source })?;
            let asked = all.last().is_some_and(|q| q.subject == subject && q.promql == promql);
            if !asked {
                all.push(Query { subject: subject.clone(), arm, promql });
            }
        }
    }
    Ok(all)
}

fn requests(profile: Profile, arm: &ArmContext, range: &str) -> String {
    match profile {
        Profile::Traefik => traefik::requests(arm, range),
        Profile::EnvoyGateway => envoy_gateway::requests(arm, range),
    }
}

fn render(
    profile: Profile,
    metric: &Metric,
    arm: &ArmContext,
    range: &str,
) -> Result<String, TemplateError> {
    let promql = match (&metric.kind, profile) {
        (MetricKind::Custom { query, variables }, _) => {
            return template::render(query, arm, range, variables);
        }
        (MetricKind::Builtin(Builtin::RequestSuccessRate), Profile::Traefik) => {
            traefik::success_rate(arm, range)
        }
        (MetricKind::Builtin(Builtin::RequestSuccessRate), Profile::EnvoyGateway) => {
            envoy_gateway::success_rate(arm, range)
        }
        (MetricKind::Builtin(Builtin::RequestDuration { quantile }), Profile::Traefik) => {
            traefik::duration(arm, *quantile, range)
        }
        (MetricKind::Builtin(Builtin::RequestDuration { quantile }), Profile::EnvoyGateway) => {
            envoy_gateway::duration(arm, *quantile, range)
        }
    };
    Ok(promql)
}

#[cfg(test)]
mod tests;
