use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tests::wait_for;
use tokio::task::JoinHandle;

/// When a number about an app became what, as a watch of its own saw it.
#[derive(Debug)]
pub(crate) struct Journal {
    seen: Arc<Mutex<Vec<Seen>>>,
    watch: JoinHandle<()>,
}

#[derive(Debug)]
struct Seen {
    at: DateTime<Utc>,
    app: String,
    number: u64,
}

impl Journal {
    /// The canary's share of the requests, in percent, of every app of a namespace.
    pub(crate) fn of_weights(client: &Client, namespace: &str) -> Self {
        let gvk = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let kind = ApiResource::from_gvk_with_plural(&gvk, "httproutes");
        let api = Api::namespaced_with(client.clone(), namespace, &kind);
        Self::watch(api, watcher::Config::default(), weight)
    }

    /// The canary's ready addresses of every app of a namespace.
    pub(crate) fn of_ready_pods(client: &Client, namespace: &str) -> Self {
        let gvk = GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice");
        let kind = ApiResource::from_gvk_with_plural(&gvk, "endpointslices");
        let api = Api::namespaced_with(client.clone(), namespace, &kind);
        Self::watch(api, watcher::Config::default().labels("tidegate.dev/role=canary"), ready)
    }

    fn watch(
        api: Api<DynamicObject>,
        config: watcher::Config,
        read: impl Fn(&DynamicObject) -> Option<(String, u64)> + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = seen.clone();
        let stream = watcher(api, config).default_backoff().touched_objects();
        let watch = tokio::spawn(stream.for_each(move |event| {
            match event {
                Ok(object) => {
                    if let Some((app, number)) = read(&object) {
                        lock(&notes).push(Seen { at: now(), app, number });
                    }
                }
                Err(error) => eprintln!("a watch was interrupted: {error}"),
            }
            futures::future::ready(())
        }));
        Self { seen, watch }
    }

    /// When the app's number was first so, at or after a moment.
    pub(crate) fn first(
        &self,
        app: &str,
        after: DateTime<Utc>,
        so: impl Fn(u64) -> bool,
    ) -> Option<DateTime<Utc>> {
        let seen = lock(&self.seen);
        let mut of_app = seen.iter().filter(|s| s.app == app && s.at >= after);
        of_app.find(|s| so(s.number)).map(|s| s.at)
    }

    /// Waits for [`Journal::first`].
    pub(crate) async fn until(
        &self,
        what: &str,
        app: &str,
        after: DateTime<Utc>,
        so: impl Fn(u64) -> bool,
    ) -> Result<DateTime<Utc>> {
        wait_for(&format!("{app}: {what}"), Duration::from_mins(3), async || {
            Ok(self.first(app, after, &so))
        })
        .await
    }

    /// Each change of an app's number since a moment, what it was before left out.
    pub(crate) fn changes(&self, app: &str, after: DateTime<Utc>) -> Vec<(DateTime<Utc>, u64)> {
        let seen = lock(&self.seen);
        let of_app = seen.iter().filter(|s| s.app == app && s.at >= after);
        let mut changes: Vec<_> = of_app.map(|s| (s.at, s.number)).collect();
        changes.dedup_by_key(|(_, number)| *number);
        changes
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The machine's clock, which the API server and the controller have too.
pub(crate) fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

fn weight(route: &DynamicObject) -> Option<(String, u64)> {
    let backends = route.data.pointer("/spec/rules/0/backendRefs")?.as_array()?;
    let of = |backend: &Value| {
        let weight = backend["weight"].as_u64().unwrap_or(1);
        Some((backend["name"].as_str()?.to_owned(), weight))
    };
    let backends: Vec<_> = backends.iter().filter_map(of).collect();
    match &backends[..] {
        [(app, _)] => Some((app.clone(), 0)),
        [(app, stable), (_, canary)] => {
            Some((app.clone(), (100 * canary).checked_div(stable + canary)?))
        }
        _ => None,
    }
}

fn ready(slice: &DynamicObject) -> Option<(String, u64)> {
    let service = slice.labels().get("kubernetes.io/service-name")?;
    let endpoints = slice.data["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|e| e["conditions"]["ready"] == true).count();
    Some((service.strip_suffix("-canary")?.to_owned(), ready as u64))
}
