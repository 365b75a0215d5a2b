use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was observed, and a summary of the run that is on or was last.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Initializing`, `Idle`, `Waiting`, `Progressing`, `WaitingPromotion`, `Promoting`, `Finalising`, `Succeeded`, `RollingBack`,
    /// `Failed` or `Terminating`.
    pub phase: String,
    /// `3/5`, counted from 1; absent without a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The run that is on, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficStatus>,
    /// Who keeps a new revision from starting: `ApiServer` (the admission policies), or `Pause` (the deployment is paused at
    /// rest, because the policies are not in force).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// Of the last check.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    pub name: String,
    /// The content hash of the pod template under test.
    pub revision: String,
    pub started_at: DateTime<Utc>,
    /// The step that the run is at, from 1.
    pub step: u32,
    pub steps: u32,
    /// Failed checks so far, and how many end the run.
    pub failures: u32,
    pub threshold: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// `Succeeded` or `Failed`, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// What is waited for, in one sentence.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFor {
    pub reason: String,
    pub message: String,
    pub since: DateTime<Utc>,
    /// When something happens even if nothing else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<DateTime<Utc>>,
    /// The command that ends the wait, where a person can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unblock: Option<String>,
}

/// The canary's share of the traffic, in percent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficStatus {
    /// What the run means it to be.
    pub intended: u8,
    /// What the route says.
    pub stored: u8,
    /// Which requests the run means to reach the canary whatever the weight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
    /// The share of the requests, in percent, that the run means to be sent to the canary as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<u8>,
    /// The traffic system has accepted what the route says.
    pub accepted: bool,
    /// How far it is known that the requests go where the route says: `Stored`, `Accepted` by the traffic system, `Programmed` where
    /// that shows what its proxies are told, `Observed` in the metrics. Absent while something else is stored than intended, and
    /// without a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// What the metrics saw in the last check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<DateTime<Utc>>,
    /// The kind of traffic system, as `spec.provider` would name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// How it was found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The routes that are split, or will be: `httproute/web`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Who programs them: `traefik`, `linkerd`, or the `controllerName` of a Gateway's class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<String>,
}

/// One metric of the last check.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<f64>,
    /// `%`, `ms` or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    pub limit: String,
    /// The canary's, in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<f64>,
    /// `Pass`, `Fail`, `NoData`, `Error` or `TooEarly`.
    pub verdict: String,
    /// As it was sent, for the canary.
    pub query: String,
}

/// As Kubernetes has them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    pub last_transition_time: DateTime<Utc>,
}
