use chrono::{DateTime, Utc};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Analysis, Cursor, Matcher, MetricStatus, Provider, Step};

/// One attempt to take one revision from 0 to promoted: the frozen plan, the cursor, and what happened.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "CanaryRun",
    plural = "canaryruns",
    namespaced,
    shortname = "tgr",
    category = "tidegate",
    status = "CanaryRunStatus",
    derive = "PartialEq",
    doc = "One attempt to take one revision from 0 to promoted: the frozen plan, the cursor, and what happened. Made by the controller.",
    printcolumn(name = "Canary", type_ = "string", json_path = ".spec.canary"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.cursor.phase"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a run's plan is frozen; abort it and start another"))]
pub struct CanaryRunSpec {
    pub canary: String,
    /// The content hash of the pod template under test.
    pub revision: String,
    /// That of the one that served when the run began.
    pub stable_revision: String,
    /// What the first container of the new revision runs: for people.
    pub image: String,
    pub plan: PlanSpec,
}

/// The parts of a canary's spec that a run keeps, templates resolved.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlanSpec {
    /// With the one that testers are put in front of.
    #[schemars(length(min = 1, max = 33))]
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub testers: Vec<Matcher>,
    pub analysis: Analysis,
    #[schemars(schema_with = "crate::schema::duration")]
    pub progress_deadline: Duration,
    pub skip_analysis: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_pods: bool,
    /// The kind of traffic system that splits for this run; absent: as the canary's spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryRunStatus {
    /// Where the run stands: written before anything is done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// The newest reason, in a sentence.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// UIDs of the actions that have been answered in this run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<String>,
    /// Of the last check.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// The canary's share that the last check saw, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<DateTime<Utc>>,
    /// When the metrics last agreed with what the route looks like now: the canary's share was its weight, or nothing reached it
    /// where nothing should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreed_at: Option<DateTime<Utc>>,
    /// What happened, oldest first; the newest 100 are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Entry>,
}

/// One thing that happened in a run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub at: DateTime<Utc>,
    pub phase: String,
    pub reason: String,
    pub message: String,
}
