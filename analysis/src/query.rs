//! Which queries a check needs: the traffic system's own metrics, and the user's templates.

use std::fmt;

use crate::check::{Arm, Checks, Window};
use crate::template::TemplateError;

/// Whose metrics tell the two arms apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Traefik,
    EnvoyGateway,
}

/// A pod and where the proxy reaches it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodAddress {
    pub name: String,
    pub ip: String,
    pub port: u16,
}

/// One arm as its metrics know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmContext {
    pub namespace: String,
    /// The Deployment's name.
    pub workload: String,
    /// The Service's name: the backend that the route gives a weight.
    pub service: String,
    /// The HTTPRoutes that split. Empty: any route of the namespace.
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

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Requests => f.write_str("requests"),
            Subject::Metric(name) => f.write_str(name),
        }
    }
}

/// The queries of one check, requests first, in the order of the metrics. `stable` is absent when
/// stable serves nothing; a custom query that reads the same for both arms is asked once, as the
/// canary's.
pub fn queries(
    profile: Profile,
    checks: &Checks,
    canary: &ArmContext,
    stable: Option<&ArmContext>,
    window: Window,
) -> Result<Vec<Query>, TemplateError> {
    let _ = (profile, checks, canary, stable, window);
    Ok(Vec::new())
}
