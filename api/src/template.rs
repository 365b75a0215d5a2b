use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A query that several canaries share.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "MetricTemplate",
    plural = "metrictemplates",
    namespaced,
    shortname = "tgm",
    category = "tidegate",
    derive = "PartialEq",
    doc = "A query that several canaries share.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MetricTemplateSpec {
    /// PromQL that returns one number, as a template; it may use namespace, workload, service, interval and variables.x.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// What `{{ variables.x }}` stands for where the metric doesn't say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub variables: BTreeMap<String, String>,
}
