use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use kube::core::Duration;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::canary::{Builtin, Limit, Metric, Step};
use crate::{Canary, CanaryAction, CanaryRun, MetricTemplate};

/// The definitions of all our resources, as `deploy/crds/` has them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds =
        vec![Canary::crd(), CanaryRun::crd(), CanaryAction::crd(), MetricTemplate::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            drop_unsigned(schema);
        }
    }
    crds
}

/// The API server knows no unsigned formats, and says so in a warning to whoever applies them.
fn drop_unsigned(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref().is_some_and(|f| f.starts_with("uint")) {
        schema.format = None;
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        drop_unsigned(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        drop_unsigned(items);
    }
}

/// The pattern of every duration, by which it can be told from other strings.
pub const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$";

/// `1m30s`: what Go's `time.ParseDuration` reads, without a sign.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": DURATION_PATTERN,
        "minLength": 2,
        "maxLength": 24,
    })
}

/// A value that a request may have: short, and on one line.
pub(crate) fn one_line(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": r"^[^\t\r\n]+$",
        "minLength": 1,
        "maxLength": 256,
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

/// Failed checks that end a run.
pub(crate) fn five() -> u32 {
    5
}

/// Requests per arm and check. With fewer, one failed request is 2 % and more.
pub(crate) fn fifty() -> u64 {
    50
}

pub(crate) fn default_steps() -> Vec<Step> {
    let step = |weight| Step { weight, ..Step::default() };
    [0, 10, 25, 50, 100].map(step).into()
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
