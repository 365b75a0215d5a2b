use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person asks of a canary. Who asks is written by the API server, and needs the RBAC verb of the same name.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "CanaryAction",
    plural = "canaryactions",
    namespaced,
    shortname = "tga",
    category = "tidegate",
    status = "ActionStatus",
    derive = "PartialEq",
    doc = "What a person asks of a canary. Who asks is written by the API server, and needs the RBAC verb of the same name.",
    printcolumn(name = "Canary", type_ = "string", json_path = ".spec.canary"),
    printcolumn(name = "Verb", type_ = "string", json_path = ".spec.verb"),
    printcolumn(name = "Actor", type_ = "string", json_path = ".spec.actor"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CanaryActionSpec {
    #[schemars(length(min = 1, max = 253))]
    pub canary: String,
    pub verb: ActionVerb,
    /// Only if this run is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub run: Option<String>,
    /// Only if the run is at this step, from 1. For `promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub step: Option<u32>,
    /// For the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Who asks: written by the API server, whatever the request says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub actor: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ActionVerb {
    /// End the hold of the step that the run is at.
    Promote,
    /// Roll back.
    Abort,
    /// Try the revision of the last, failed run again.
    Retry,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ActionStatus {
    pub state: ActionState,
    /// Why, if it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it took effect, or was refused.
    pub at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionState {
    Accepted,
    Refused,
}
