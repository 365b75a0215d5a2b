use std::collections::BTreeMap;

use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::CanaryStatus;
use crate::schema;

/// A Deployment whose new revisions are tried on a share of the traffic before everybody gets them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Canary",
    plural = "canaries",
    namespaced,
    shortname = "tgc",
    category = "tidegate",
    status = "CanaryStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters; it becomes a label of the target"),
    doc = "A Deployment whose new revisions are tried on a share of the traffic before everybody gets them.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.traffic.intended"),
    printcolumn(name = "Waiting for", type_ = "string", json_path = ".status.waitingFor.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.testers) || !has(self.steps) || self.steps.all(s, !has(s.checks) || s.checks == 0 || s.weight > 0 || has(s.match) || has(s.mirror))").message("steps: no request reaches the canary at weight 0, so there is nothing to check; remove checks, give the step a weight, a match or a mirror, or name testers"))]
#[x_kube(validation = Rule::new("!has(self.traffic.byPods) || !self.traffic.byPods || has(self.provider) && self.provider == 'kubernetes'").message("traffic.byPods: goes with provider kubernetes; a proxy shares requests out by weight, however many pods there are"))]
#[x_kube(validation = Rule::new("!has(self.traffic.route) || !has(self.provider) || self.provider != 'kubernetes'").message("traffic.route: provider kubernetes has none; remove one of the two"))]
#[x_kube(validation = Rule::new("!has(self.traffic.route) || has(self.provider) && self.provider in ['contour', 'traefik'] || size(self.traffic.route.gateways) > 0 || self.traffic.route.mesh").message("traffic.route: name the gateways, or set mesh: true; a route without either gets no request"))]
pub struct CanarySpec {
    /// The workload whose new revisions are judged. It stays its owner's: never copied, renamed or restarted.
    pub target_ref: TargetRef,
    /// The kind of traffic system that splits. Default: found out by the routes that name the Service, and shown in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// What carries the traffic.
    pub traffic: Traffic,
    /// The traffic shares that a new revision goes through, rising. Default: 0, 10, 25, 50, 100.
    #[serde(default = "schema::default_steps")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.map(s, s.weight).isSorted()").message("steps: weights rise from step to step; put the steps in order of weight"))]
    pub steps: Vec<Step>,
    /// Requests that reach the canary from before the first step to the promotion, whatever the weight. If the first step has a
    /// weight, a match or a mirror, one of weight 0 is put in front, so that testers are there before any user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub testers: Vec<Matcher>,
    /// How each step is judged.
    #[serde(default)]
    pub analysis: Analysis,
    /// How long the canary's pods may take to become ready, a weight to be accepted, a promoted revision to roll out.
    #[serde(default = "schema::ten_minutes")]
    #[schemars(schema_with = "schema::duration")]
    pub progress_deadline: Duration,
    /// While true nothing moves: a new revision waits, a run stays at its weight. An abort still works.
    #[serde(default)]
    pub suspend: bool,
    /// Promote a new revision as soon as its pods are ready: no steps, no checks, no holds. For the run that starts next.
    #[serde(default)]
    pub skip_analysis: bool,
}

/// The Deployment that the user owns.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("targetRef: can't be changed; delete this canary and create another"))]
pub struct TargetRef {
    #[serde(default)]
    pub api_version: AppsVersion,
    #[serde(default)]
    pub kind: DeploymentKind,
    /// At most 56 characters: the canary's Deployment is called after it, with `-canary` behind.
    #[schemars(length(min = 1, max = 56))]
    pub name: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppsVersion {
    #[default]
    #[serde(rename = "apps/v1")]
    AppsV1,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeploymentKind {
    #[default]
    Deployment,
}

/// By the kind of route that it reads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// `HTTPRoute` and `GRPCRoute` of Gateway API, on Gateways of any controller, or on Services of a mesh (Istio ambient, Linkerd,
    /// Cilium).
    GatewayApi,
    /// `HTTPProxy` of Contour.
    Contour,
    /// `TraefikService`, which `IngressRoute`s of Traefik name.
    Traefik,
    /// No route: the Service itself is pointed at the pods of one revision or the other, so steps have weight 0 or 100.
    Kubernetes,
    /// `VirtualService` of Istio, for its gateways and for clients in the mesh.
    Istio,
}

impl Provider {
    /// The inverse of [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::GatewayApi, Self::Contour, Self::Traefik, Self::Kubernetes, Self::Istio];
        all.into_iter().find(|provider| provider.name() == name)
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::GatewayApi => "gateway-api",
            Self::Contour => "contour",
            Self::Traefik => "traefik",
            Self::Kubernetes => "kubernetes",
            Self::Istio => "istio",
        }
    }
}

/// The user's Service, and the route if there is none.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// What clients call. Routes of this namespace that name it are found, and split for the time of a run.
    pub service: ServiceRef,
    /// Only if no route names the Service: one is created for this canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<ManagedRoute>,
    /// Only with provider `kubernetes`: a weight is the canary's part of all pods that the Service selects, as near as whole pods come to
    /// it. Up to 50, and 100.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_pods: bool,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.name == oldSelf.name").message("traffic.service.name: can't be changed; delete this canary and create another"))]
pub struct ServiceRef {
    /// At most 56 characters: the canary's Service is called after it, with `-canary` behind.
    #[schemars(length(min = 1, max = 56))]
    pub name: String,
    /// Which of the Service's ports a route of ours names. Default: its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// A route that Tidegate creates.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRoute {
    /// Whose requests it routes.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub gateways: Vec<GatewayRef>,
    /// Requests to the Service by the clients of a mesh are routed, too: the Service itself is a parent of the route.
    #[serde(default)]
    pub mesh: bool,
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub hosts: Vec<String>,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Default: the canary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Who reaches the canary, and what it takes to go on.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.checks) || self.checks > 0 || (self.weight == 0 && !has(self.match) && !has(self.mirror))").message("steps: 0 checks at a weight above 0, with a match or with a mirror would go on unjudged; ask for 1 or more, or set skipAnalysis"))]
#[x_kube(validation = Rule::new("!has(self.match) || !has(self.mirror)").message("steps: with match and mirror together nobody could tell whose requests were judged; make them two steps"))]
pub struct Step {
    /// The canary's share of the traffic, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub weight: u8,
    /// Requests that reach the canary in this step, whatever its weight (A/B): those that any of these matches.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub matches: Vec<Matcher>,
    /// A share of the requests is sent to the canary as well. Clients get stable's answers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// Passing checks that end the step. Default: 1, and none at weight 0 without match and mirror, where at most testers come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub checks: Option<u32>,
    /// What else is waited for once the checks have passed. They go on meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

impl Step {
    /// Something of its own brings requests to the canary.
    pub(crate) fn routes(&self) -> bool {
        self.weight > 0 || !self.matches.is_empty() || self.mirror.is_some()
    }

    /// Passing checks that end it.
    pub fn wanted_checks(&self) -> u32 {
        self.checks.unwrap_or(u32::from(self.routes()))
    }
}

/// A kind of request: all conditions hold, of which there is at least one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.headers) ? self.headers.size() : 0) + (has(self.cookies) ? self.cookies.size() : 0) + (has(self.query) ? self.query.size() : 0) > 0").message("match: without a condition it would be every request; name a header, a cookie or a query parameter"))]
#[x_kube(validation = Rule::new("!has(self.headers) || !('cookie' in self.headers)").message("match: cookies have a field of their own; use cookies"))]
#[x_kube(validation = Rule::new("!has(self.headers) || !('host' in self.headers)").message("match: the route's host names are its owner's; match something else than host"))]
pub struct Matcher {
    /// By name, in whatever case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub headers: BTreeMap<String, Pattern>,
    /// By name. One: all cookies of a request come in the same header, and routes match a header once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 1))]
    pub cookies: BTreeMap<String, Pattern>,
    /// Parameters of the query, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub query: BTreeMap<String, Pattern>,
}

/// What a value is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.exact) != has(self.regex)").message("match: a value is either exact or a regex; set one of them"))]
pub struct Pattern {
    /// The whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::one_line")]
    pub exact: Option<String>,
    /// RE2, of the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::one_line")]
    pub regex: Option<String>,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Of the requests.
    #[schemars(range(min = 1, max = 100))]
    pub percent: u8,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.for) != (has(self.untilApproved) && self.untilApproved)").message("steps[].hold: set either for or untilApproved: true"))]
pub struct Hold {
    /// The weight stays for at least this long, counted from when it took effect.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub span: Option<Duration>,
    /// Until someone promotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_approved: Option<bool>,
}

/// How a step is judged: each check looks at all metrics over one interval.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.interval) >= duration('1s')").message("analysis.interval: at least 1s"))]
pub struct Analysis {
    /// One check is counted per interval, never more, and looks at that long. At least 1s; no less than four scrapes.
    #[schemars(schema_with = "schema::duration")]
    #[serde(default = "schema::thirty_seconds")]
    pub interval: Duration,
    /// How long after a weight change nothing is measured yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub warm_up: Option<Duration>,
    /// How many failed checks of a run end it.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default = "schema::five")]
    pub threshold: u32,
    /// Requests that each arm must have had in the window; fewer say nothing.
    #[schemars(range(min = 0, max = 1_000_000))]
    #[serde(default = "schema::fifty")]
    pub min_requests: u64,
    /// How long a run may go on without a usable check, and what happens then.
    #[serde(default)]
    pub no_data: NoData,
    /// What is measured. Default: at least 99 % of the requests succeed, and the 99th percentile takes at most 500 ms.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default = "schema::default_metrics")]
    pub metrics: Vec<Metric>,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            interval: schema::thirty_seconds(),
            warm_up: None,
            threshold: schema::five(),
            min_requests: schema::fifty(),
            no_data: NoData::default(),
            metrics: schema::default_metrics(),
        }
    }
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NoData {
    #[schemars(schema_with = "schema::duration")]
    pub deadline: Duration,
    pub then: NoDataThen,
}

impl Default for NoData {
    fn default() -> Self {
        Self { deadline: schema::ten_minutes(), then: NoDataThen::Rollback }
    }
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoDataThen {
    #[default]
    Rollback,
    Hold,
    Promote,
}

/// A number about the canary, and what it may be.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.builtin) ? 1 : 0) + (has(self.query) ? 1 : 0) + (has(self.templateRef) ? 1 : 0) == 1").message("analysis.metrics[]: set exactly one of builtin, query and templateRef"))]
#[x_kube(validation = Rule::new("has(self.quantile) == (has(self.builtin) && self.builtin == 'request-duration')").message("analysis.metrics[].quantile: goes with builtin: request-duration, which needs it"))]
#[x_kube(validation = Rule::new("!has(self.variables) || !has(self.builtin)").message("analysis.metrics[].variables: a builtin metric has none; remove them"))]
pub struct Metric {
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A metric whose query comes with the traffic system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<Builtin>,
    /// Of `request-duration`: 0.95 for the 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 0.9999))]
    pub quantile: Option<f64>,
    /// PromQL that returns one number, as a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub query: Option<String>,
    /// A `MetricTemplate` of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,
    /// What `{{ variables.x }}` stands for in the query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub variables: BTreeMap<String, String>,
    pub limit: Limit,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// Requests that were not answered with a 5xx, in percent.
    RequestSuccessRate,
    /// Time to answer, in milliseconds.
    RequestDuration,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TemplateRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What a value may be, both ends included.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.min) || has(self.max)").message("analysis.metrics[].limit: set min, max or both; a metric without a limit judges nothing"))]
#[x_kube(validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max").message("analysis.metrics[].limit: min is above max"))]
pub struct Limit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}
