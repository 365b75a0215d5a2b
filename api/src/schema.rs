use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::Duration;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::canary::{Builtin, Limit, Metric, Step};
use crate::{Canary, CanaryAction, CanaryRun, MetricTemplate};

/// The definitions of all our resources, as `deploy/crds/` has them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Canary::crd(), CanaryRun::crd(), CanaryAction::crd(), MetricTemplate::crd()]
}

/// `1m30s`: whole numbers of hours, minutes, seconds and milliseconds, largest first.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
        "minLength": 2,
        "maxLength": 24,
    })
}

fn seconds(n: u64) -> Duration {
    std::time::Duration::from_secs(n).into()
}

pub(crate) fn ten_minutes() -> Duration {
    seconds(600)
}

pub(crate) fn thirty_seconds() -> Duration {
    seconds(30)
}

pub(crate) fn no_time() -> Duration {
    seconds(0)
}

/// Failed checks that end a run.
pub(crate) fn five() -> u32 {
    5
}

/// Requests per arm and check. With fewer, one failed request is 2 % and more.
pub(crate) fn fifty() -> u64 {
    50
}

pub(crate) fn default_steps() -> Vec<Step> {
    [0, 10, 25, 50, 100].map(|weight| Step { weight, checks: None, hold: None }).into()
}

/// Flagger's customary pair.
pub(crate) fn default_metrics() -> Vec<Metric> {
    let metric = |name: &str, builtin, quantile, limit| Metric {
        name: name.to_owned(),
        builtin: Some(builtin),
        quantile,
        query: None,
        template_ref: None,
        variables: std::collections::BTreeMap::new(),
        limit,
    };
    let (min, max) = (Some(99.0), Some(500.0));
    vec![
        metric("success-rate", Builtin::RequestSuccessRate, None, Limit { min, max: None }),
        metric("p99", Builtin::RequestDuration, Some(0.99), Limit { min: None, max }),
    ]
}
