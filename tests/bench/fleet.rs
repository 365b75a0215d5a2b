use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{ActionVerb, Canary, CanaryAction, CanaryActionSpec, CanaryRun};
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tests::{ApiRequest, App, Cluster, Load, Plane, Requests, wait_for};

use crate::journal::now;

/// Longer than anything takes that isn't measured, however busy the machine is.
const ENOUGH: Duration = Duration::from_mins(10);

/// Apps of one namespace, each under a Canary of its own name and behind Traefik, at `<app>.<namespace>.test`.
pub(crate) struct Fleet<'a> {
    pub(crate) cluster: &'a Cluster,
    namespace: String,
    apps: Vec<App>,
}

impl<'a> Fleet<'a> {
    /// Creates the namespace; there is no app yet.
    pub(crate) async fn new(cluster: &'a Cluster, namespace: &str) -> Result<Self> {
        cluster.namespace(namespace).await?;
        Ok(Self { cluster, namespace: namespace.to_owned(), apps: vec![] })
    }

    /// Creates the namespace and deploys `count` apps with `like` changed as need be, without Canaries.
    pub(crate) async fn deploy(
        cluster: &'a Cluster,
        namespace: &str,
        count: usize,
        like: impl Fn(App) -> App,
    ) -> Result<Self> {
        let mut fleet = Self::new(cluster, namespace).await?;
        fleet.grow(count, like).await?;
        Ok(fleet)
    }

    /// Deploys more apps, until there are `count`.
    pub(crate) async fn grow(&mut self, count: usize, like: impl Fn(App) -> App) -> Result<()> {
        if count <= self.apps.len() {
            return Ok(());
        }
        let namespace = self.namespace.clone();
        let more = (self.apps.len()..count).map(|n| {
            let name = format!("app-{n:03}");
            let host = format!("{name}.{namespace}.test");
            like(App::new(&name, &namespace).replicas(1)).host(Plane::Traefik, &host)
        });
        let more: Vec<App> = more.collect();
        let objects: Vec<Value> = more
            .iter()
            .flat_map(|app| [app.deployment(), app.service()].into_iter().chain(app.routes()))
            .collect();
        self.cluster.apply(&list(&objects)).await?;
        self.apps.extend(more);
        let all: Api<Deployment> = Api::namespaced(self.cluster.client(), &self.namespace);
        wait_for("every pod to be ready", ENOUGH, async || {
            let all = all.list(&ListParams::default()).await?;
            let ready = |d: &Deployment| {
                let status = d.status.clone().unwrap_or_default();
                status.ready_replicas == d.spec.as_ref().and_then(|spec| spec.replicas)
            };
            Ok(all.iter().all(ready).then_some(()))
        })
        .await
    }

    /// Creates a Canary for each app that has none, and waits until all are at rest.
    pub(crate) async fn adopt(&self, spec: impl Fn(&App) -> Value) -> Result<()> {
        let canaries: Vec<Value> =
            self.apps.iter().map(|app| self.canary(app, spec(app))).collect();
        self.cluster.apply(&list(&canaries)).await?;
        let api: Api<Canary> = Api::namespaced(self.cluster.client(), &self.namespace);
        wait_for("every canary to be at rest", ENOUGH, async || {
            let all = api.list(&ListParams::default()).await?;
            let idle = |c: &Canary| c.status.as_ref().is_some_and(|s| s.phase == "Idle");
            let restless = all.iter().filter(|c| !idle(c)).map(ResourceExt::name_any);
            let restless: Vec<_> = restless.collect();
            ensure!(restless.is_empty(), "not at rest: {restless:?}");
            Ok(Some(()))
        })
        .await
    }

    fn canary(&self, app: &App, mut spec: Value) -> Value {
        spec["targetRef"] = json!({"name": app.name()});
        spec["traffic"] = json!({"service": {"name": app.name()}});
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
            "metadata": {"name": app.name(), "namespace": self.namespace}, "spec": spec,
        })
    }

    pub(crate) fn apps(&self) -> &[App] {
        &self.apps
    }

    /// Sends requests to the app through Traefik, once it answers there.
    pub(crate) async fn load(&self, app: &App, per_second: u32) -> Result<Load> {
        let host = format!("{}.{}.test", app.name(), self.namespace);
        let http = reqwest::Client::new();
        wait_for(&format!("{host} to answer"), ENOUGH, async || {
            let answer = http.get(Plane::Traefik.url()).header("Host", &host).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await?;
        let requests = Requests::through(Plane::Traefik, &host).per_second(per_second);
        Load::start(self.cluster, &requests).await
    }

    /// The owner writes the app's new template; the answer is when that was.
    pub(crate) async fn bump(&self, to: &App) -> Result<DateTime<Utc>> {
        let api: Api<Deployment> = Api::namespaced(self.cluster.client(), &self.namespace);
        let patch = json!({"spec": {"template": to.deployment()["spec"]["template"]}});
        let began = now();
        api.patch(to.name(), &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(began)
    }

    /// Somebody aborts; the answer is when that was asked.
    pub(crate) async fn abort(&self, app: &App) -> Result<DateTime<Utc>> {
        let api: Api<CanaryAction> = Api::namespaced(self.cluster.client(), &self.namespace);
        let (canary, verb) = (app.name().to_owned(), ActionVerb::Abort);
        let spec =
            CanaryActionSpec { canary, verb, run: None, step: None, reason: None, actor: None };
        let began = now();
        api.create(&PostParams::default(), &CanaryAction::new(app.name(), spec)).await?;
        Ok(began)
    }

    /// Waits until each app has had a run that is over: how it ended, and its last words.
    pub(crate) async fn outcomes(&self) -> Result<BTreeMap<String, (String, String)>> {
        let api: Api<CanaryRun> = Api::namespaced(self.cluster.client(), &self.namespace);
        wait_for("every run to end", ENOUGH, async || {
            let runs = api.list(&ListParams::default()).await?;
            let ended = runs.iter().filter_map(|run| {
                let status = run.status.as_ref().filter(|s| s.ended_at.is_some())?;
                let phase = status.cursor.as_ref()?.phase.clone();
                Some((run.spec.canary.clone(), (phase, status.message.clone())))
            });
            let ended: BTreeMap<_, _> = ended.collect();
            ensure!(ended.len() == self.apps.len(), "{} have ended", ended.len());
            Ok(Some(ended))
        })
        .await
    }
}

/// As the default ones, but for what a busy machine does to the 99th percentile.
pub(crate) fn patient_metrics() -> Value {
    json!([
        {"name": "success-rate", "builtin": "request-success-rate", "limit": {"min": 99}},
        {"name": "p99", "builtin": "request-duration", "quantile": 0.99, "limit": {"max": 60_000}},
    ])
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// Requests of a user that came between two moments, from the API server's audit log.
pub(crate) fn requests_between(
    cluster: &Cluster,
    user: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<ApiRequest>> {
    let mut all = cluster.api_requests(user)?;
    let at =
        |r: &ApiRequest| DateTime::parse_from_rfc3339(&r.at).context("a time in the audit log");
    let mut found = vec![];
    for request in all.drain(..) {
        if (from..to).contains(&at(&request)?.to_utc()) {
            found.push(request);
        }
    }
    Ok(found)
}

/// Waits until a user has asked for nothing for 5 s.
pub(crate) async fn quiet(cluster: &Cluster, user: &str) -> Result<()> {
    wait_for(&format!("{user} to ask for nothing"), ENOUGH, async || {
        let to = now();
        let asked = requests_between(cluster, user, to - TimeDelta::seconds(5), to)?;
        Ok(asked.iter().all(|r| r.verb == "watch").then_some(()))
    })
    .await
}

/// `get deployments 3, patch httproutes 1`: the most frequent first.
pub(crate) fn by_verb(requests: &[ApiRequest]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for r in requests {
        let slash = if r.subresource.is_empty() { "" } else { "/" };
        let what = format!("{} {}{slash}{}", r.verb, r.resource, r.subresource);
        *counts.entry(what).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(what, count)| (std::cmp::Reverse(*count), what.clone()));
    counts
}
