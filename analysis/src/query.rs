//! Which queries a check needs: the traffic system's own metrics, and the user's templates.

mod cilium;
mod envoy;
mod envoy_gateway;
mod istio;
mod linkerd;
mod pods;
mod promql;
mod series;
mod traefik;

use std::fmt;

use crate::check::{Arm, Builtin, Checks, Metric, MetricKind, Window};
use crate::template::{self, TemplateError};

pub use istio::Reporter;
use series::Series;

/// Whose metrics tell the two arms apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A Gateway API route through Traefik.
    Traefik,
    /// A `TraefikService`.
    TraefikService,
    EnvoyGateway,
    Contour,
    Kgateway,
    /// Proxies with Istio's telemetry.
    Istio(Reporter),
    /// An Envoy that istiod configures, without that telemetry.
    IstioProxy,
    Linkerd,
    Cilium,
    /// No proxy: the pods count for themselves.
    Pods,
}

/// What the route carries: it decides which answers are failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http,
    Grpc,
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
    /// The Service that clients call, and that the route splits: the user's, for both arms.
    pub apex: String,
    /// The backend's port as the route names it, which is a number but in a `TraefikService`. Empty:
    /// any number.
    pub port: String,
    pub protocol: Protocol,
    /// The routes that split, of this namespace. Empty: any route of the namespace.
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
            promql: profile.series(context).requests(&range),
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

/// The queries for the requests of both arms and nothing else.
pub fn requests(
    profile: Profile,
    canary: &ArmContext,
    stable: &ArmContext,
    window: Window,
) -> Vec<Query> {
    let range = promql::range(window);
    let of = |arm, context| Query {
        subject: Subject::Requests,
        arm,
        promql: profile.series(context).requests(&range),
    };
    vec![of(Arm::Canary, canary), of(Arm::Stable, stable)]
}

fn render(
    profile: Profile,
    metric: &Metric,
    arm: &ArmContext,
    range: &str,
) -> Result<String, TemplateError> {
    match &metric.kind {
        MetricKind::Custom { query, variables } => template::render(query, arm, range, variables),
        MetricKind::Builtin(Builtin::RequestSuccessRate) => {
            Ok(profile.series(arm).success_rate(range))
        }
        MetricKind::Builtin(Builtin::RequestDuration { quantile }) => {
            Ok(profile.series(arm).duration(*quantile, range))
        }
    }
}

impl Profile {
    /// Whether an arm is told by its pods, so that [`ArmContext::pods`] is needed.
    pub fn by_pods(self) -> bool {
        matches!(self, Self::EnvoyGateway | Self::Pods)
    }

    /// Whether all that is counted for an arm was routed to it by the system. Where the pods' side counts, probes and scrapes are
    /// counted too, and an arm is never without requests.
    pub fn counts_routed(self) -> bool {
        match self {
            Self::Traefik
            | Self::TraefikService
            | Self::EnvoyGateway
            | Self::Contour
            | Self::Kgateway
            | Self::Istio(_)
            | Self::IstioProxy
            | Self::Linkerd => true,
            Self::Cilium | Self::Pods => false,
        }
    }

    fn series(self, arm: &ArmContext) -> Series {
        match self {
            Self::Traefik => traefik::route(arm),
            Self::TraefikService => traefik::traefik_service(arm),
            Self::EnvoyGateway => envoy_gateway::series(arm),
            Self::Contour => envoy::contour(arm),
            Self::Kgateway => envoy::kgateway(arm),
            Self::Istio(reporter) => istio::series(arm, reporter),
            Self::IstioProxy => envoy::istio_proxy(arm),
            Self::Linkerd => linkerd::series(arm),
            Self::Cilium => cilium::series(arm),
            Self::Pods => pods::series(arm),
        }
    }
}

impl ArmContext {
    fn port_pattern(&self) -> String {
        if self.port.is_empty() { "[0-9]+".to_owned() } else { promql::literal(&self.port) }
    }
}

#[cfg(test)]
mod tests;
