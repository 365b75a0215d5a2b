//! The watches: each keeps what is used of one kind, and wakes the canaries that its changes concern.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use api::{Canary, CanaryAction, CanaryRun};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource, ResourceExt};
use providers::traffic::{KINDS, RouteKind, TrafficProvider};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::watched::Workload;

/// Says that a canary is to be looked at again.
pub(crate) type Wake = UnboundedSender<ObjectRef<Canary>>;

/// Everything that is watched.
#[derive(Clone)]
pub(crate) struct Caches {
    pub(crate) canaries: Store<Canary>,
    pub(crate) runs: Store<CanaryRun>,
    pub(crate) actions: Store<CanaryAction>,
    pub(crate) deployments: Store<Workload>,
    pub(crate) services: Store<Service>,
    /// In the order of [`KINDS`].
    routes: Vec<Store<DynamicObject>>,
    /// Which kinds of routes the API server has, by the names of their definitions; `None` until it has been asked.
    installed: watch::Receiver<Option<BTreeSet<String>>>,
    /// Of the canaries' Services only.
    pub(crate) endpoints: Store<EndpointSlice>,
    /// Of the canaries only.
    pub(crate) pods: Store<Pod>,
}

/// What kube needs to know about a kind of route.
pub(crate) fn resource(kind: &RouteKind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    ApiResource::from_gvk_with_plural(&gvk, kind.plural)
}

impl Caches {
    /// Starts the watches in `tasks`; they end with it. The canaries' own store is the controller's.
    pub(crate) fn start(
        client: &Client,
        namespace: Option<&str>,
        canaries: Store<Canary>,
        wake: &Wake,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let canary_role = format!("{}=canary", api::ROLE_LABEL);
        let all = watcher::Config::default();
        let ours = all.clone().labels(&canary_role);
        let mut start = Start { client, namespace, canaries: &canaries, wake, tasks };
        let installed = start.installed();
        let routes = KINDS.map(|provider| start.routes(provider, installed.clone())).into();
        Self {
            routes,
            installed,
            runs: start
                .watch(all.clone(), |run: &CanaryRun| Concern::Canary(run.spec.canary.clone())),
            actions: start
                .watch(all.clone(), |a: &CanaryAction| Concern::Canary(a.spec.canary.clone())),
            deployments: start.watch(all.clone(), |d: &Workload| Concern::Target(d.name_any())),
            services: start.watch(all.clone(), |s: &Service| Concern::Service(s.name_any())),
            endpoints: start.watch(ours.clone(), |slice: &EndpointSlice| {
                let name = slice.labels().get("kubernetes.io/service-name").cloned();
                Concern::Service(name.unwrap_or_default())
            }),
            pods: start.watch(ours, |pod: &Pod| Concern::Target(deployment_of(pod).to_owned())),
            canaries,
        }
    }

    /// Until each watch has listed once: what hasn't would look like what isn't there. A kind of route that isn't installed is not
    /// waited for.
    pub(crate) async fn ready(&self) -> bool {
        self.runs.wait_until_ready().await.is_ok()
            && self.actions.wait_until_ready().await.is_ok()
            && self.deployments.wait_until_ready().await.is_ok()
            && self.services.wait_until_ready().await.is_ok()
            && self.endpoints.wait_until_ready().await.is_ok()
            && self.pods.wait_until_ready().await.is_ok()
            && self.routes_ready().await
    }

    async fn routes_ready(&self) -> bool {
        let mut installed = self.installed.clone();
        let Ok(kinds) = installed.wait_for(Option::is_some).await.map(|kinds| kinds.clone()) else {
            return false;
        };
        let known = |crd: &str| kinds.as_ref().is_some_and(|kinds| kinds.contains(crd));
        for (provider, store) in KINDS.iter().zip(&self.routes) {
            if !known(&provider.kind().crd()) {
                continue;
            }
            // One that the server has in another version, or that we may not read, must not keep the others waiting.
            match tokio::time::timeout(PATIENCE, store.wait_until_ready()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return false,
                Err(_) => {
                    let kind = provider.kind();
                    let (version, kind) = (format!("{}/{}", kind.group, kind.version), kind.kind);
                    tracing::warn!(version, kind, "could not be listed; such routes are not seen");
                }
            }
        }
        true
    }

    /// The canaries of a namespace, by name.
    pub(crate) fn canaries_in(&self, namespace: &str) -> Vec<Arc<Canary>> {
        of_namespace(&self.canaries, namespace)
    }

    /// The runs of a canary, newest first.
    pub(crate) fn runs_of(&self, canary: &Canary) -> Vec<Arc<CanaryRun>> {
        let owner = canary.metadata.uid.as_deref();
        let mut runs = self.runs.state_filter(|run| {
            run.metadata.namespace == canary.metadata.namespace
                && run.owner_references().iter().any(|o| Some(o.uid.as_str()) == owner)
        });
        runs.sort_by_key(|run| std::cmp::Reverse((run.creation_timestamp(), run.name_any())));
        runs
    }

    /// The actions about a canary, oldest first.
    pub(crate) fn actions_of(&self, canary: &Canary) -> Vec<Arc<CanaryAction>> {
        let mut actions = self.actions.state_filter(|action| {
            action.metadata.namespace == canary.metadata.namespace
                && Some(&action.spec.canary) == canary.metadata.name.as_ref()
        });
        actions.sort_by_key(|action| (action.creation_timestamp(), action.name_any()));
        actions
    }

    pub(crate) fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Workload>> {
        self.deployments.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(&ObjectRef::new(name).within(namespace))
    }

    /// Of the kind at this place in [`KINDS`].
    pub(crate) fn routes_in(&self, kind: usize, namespace: &str) -> Vec<Arc<DynamicObject>> {
        self.routes.get(kind).map_or_else(Vec::new, |store| of_namespace(store, namespace))
    }

    /// Those of all namespaces, in no order.
    pub(crate) fn routes_like(
        &self,
        provider: &dyn TrafficProvider,
        like: impl Fn(&DynamicObject) -> bool,
    ) -> Vec<Arc<DynamicObject>> {
        let same = KINDS.iter().position(|p| p.kind() == provider.kind());
        let store = same.and_then(|kind| self.routes.get(kind));
        store.map_or_else(Vec::new, |store| store.state_filter(like))
    }
}

/// The objects of a namespace in the order of their names, so that no order of a store reaches a write.
fn of_namespace<K>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let mut found = store.state_filter(|o| o.meta().namespace.as_deref() == Some(namespace));
    found.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    found
}

/// Which canaries of its namespace a change concerns.
enum Concern {
    Canary(String),
    /// The one whose target this is, or whose canary this is.
    Target(String),
    Service(String),
    Services(Vec<String>),
}

impl Concern {
    fn touches(&self, canary: &Canary) -> bool {
        let ours = |name: &str, base: &str| {
            name == base || name.strip_suffix(api::SUFFIX).is_some_and(|name| name == base)
        };
        let service = &canary.spec.traffic.service.name;
        match self {
            Self::Canary(name) => canary.metadata.name.as_ref() == Some(name),
            Self::Target(name) => ours(name, &canary.spec.target_ref.name),
            Self::Service(name) => ours(name, service),
            Self::Services(names) => names.iter().any(|name| ours(name, service)),
        }
    }
}

/// How long a kind of route that is installed may take to be listed before the others go on without it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The kinds of routes that the server says it serves, by the names of their definitions.
async fn served(client: &Client) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in KINDS.iter().map(|p| p.kind()) {
        let group = format!("{}/{}", kind.group, kind.version);
        let known = client.list_api_group_resources(&group).await;
        if known.is_ok_and(|k| k.resources.iter().any(|r| r.name == kind.plural)) {
            all.insert(kind.crd());
        }
    }
    all
}

struct Start<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    canaries: &'a Store<Canary>,
    wake: &'a Wake,
    tasks: &'a mut JoinSet<()>,
}

impl Start<'_> {
    /// Watches which kinds of routes there are. Who may not see the definitions, or can't watch them, works with what there is now.
    fn installed(&mut self) -> watch::Receiver<Option<BTreeSet<String>>> {
        let (tell, told) = watch::channel(None);
        let client = self.client.clone();
        let definitions =
            Api::<PartialObjectMeta<CustomResourceDefinition>>::all(self.client.clone());
        let known: BTreeSet<String> = KINDS.iter().map(|p| p.kind().crd()).collect();
        let stream = watcher(definitions, watcher::Config::default()).default_backoff();
        self.tasks.spawn(async move {
            let mut stream = pin!(stream);
            let mut seen = BTreeSet::new();
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Apply(crd) | Event::InitApply(crd)) => {
                        seen.extend(crd.metadata.name.filter(|name| known.contains(name)));
                        if tell.borrow().is_some() {
                            tell.send_replace(Some(seen.clone()));
                        }
                    }
                    Ok(Event::InitDone) => drop(tell.send_replace(Some(seen.clone()))),
                    Ok(Event::Init | Event::Delete(_)) => {}
                    Err(error) => {
                        // Whoever may not see the definitions works with what there is now.
                        if tell.borrow().is_none() {
                            tell.send_replace(Some(served(&client).await));
                        }
                        let error = crate::errors::chain(&error);
                        tracing::warn!(error, "watch of the kinds of routes interrupted, retrying");
                    }
                }
            }
        });
        told
    }

    /// Begins once the kind is there: a watch of one that isn't would ask for it for ever.
    fn routes(
        &mut self,
        provider: &'static dyn TrafficProvider,
        mut installed: watch::Receiver<Option<BTreeSet<String>>>,
    ) -> Store<DynamicObject> {
        let kind = resource(provider.kind());
        let api = match self.namespace {
            Some(ns) => Api::namespaced_with(self.client.clone(), ns, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        };
        let crd = provider.kind().crd();
        let begin = async move {
            let there = |kinds: &Option<BTreeSet<String>>| {
                kinds.as_ref().is_some_and(|kinds| kinds.contains(&crd))
            };
            // Only when everything is being torn down is nobody left to tell.
            installed.wait_for(there).await.is_ok()
        };
        let concern = move |route: &DynamicObject| {
            let route = serde_json::to_value(route).unwrap_or_default();
            Concern::Services(provider.services(&route))
        };
        self.watch_once(begin, api, watcher::Config::default(), kind, concern)
    }

    fn watch<K>(
        &mut self,
        config: watcher::Config,
        concern: impl Fn(&K) -> Concern + Send + Sync + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let api = match self.namespace {
            Some(ns) => Api::<K>::namespaced(self.client.clone(), ns),
            None => Api::all(self.client.clone()),
        };
        self.watch_once(std::future::ready(true), api, config, (), concern)
    }

    /// Begins when `begin` says so.
    fn watch_once<K>(
        &mut self,
        begin: impl Future<Output = bool> + Send + 'static,
        api: Api<K>,
        config: watcher::Config,
        kind: K::DynamicType,
        concern: impl Fn(&K) -> Concern + Send + Sync + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let writer = reflector::store::Writer::new(kind);
        let store = writer.as_reader();
        let (canaries, wake) = (self.canaries.clone(), self.wake.clone());
        let stream = watcher(api, config)
            .default_backoff()
            .modify(|object| {
                object.meta_mut().managed_fields = None;
                let annotations = &mut object.meta_mut().annotations;
                if let Some(all) = annotations {
                    all.remove("kubectl.kubernetes.io/last-applied-configuration");
                }
                // None are none, or a route would differ from what it should be by an empty map.
                annotations.take_if(|all| all.is_empty());
            })
            .reflect(writer);
        let follow = stream.for_each(move |event| {
            match event {
                Ok(Event::Apply(object) | Event::Delete(object)) => {
                    wake_concerned(&object, &concern(&object), &canaries, &wake);
                }
                // What has changed or gone while the watch was interrupted is in the store from now on, and not told apart.
                Ok(Event::InitDone) => wake_all(&canaries, &wake),
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => {
                    let error = crate::errors::chain(&error);
                    tracing::warn!(error, "watch interrupted, retrying");
                }
            }
            futures::future::ready(())
        });
        self.tasks.spawn(async move {
            if begin.await {
                follow.await;
            }
        });
        store
    }
}

fn wake_concerned<K: Resource>(
    object: &K,
    concern: &Concern,
    canaries: &Store<Canary>,
    wake: &Wake,
) {
    let namespace = &object.meta().namespace;
    for canary in
        canaries.state_filter(|c| c.metadata.namespace == *namespace && concern.touches(c))
    {
        // Nobody listens only when the controller is stopping.
        let _ = wake.send(ObjectRef::from_obj(&*canary));
    }
}

fn wake_all(canaries: &Store<Canary>, wake: &Wake) {
    for canary in canaries.state() {
        // Nobody listens only when the controller is stopping.
        let _ = wake.send(ObjectRef::from_obj(&*canary));
    }
}

/// The Deployment behind a pod, by the name of its ReplicaSet: `checkout-canary-7d4b9c`. The pod's own name won't do: it is cut
/// where it gets too long.
pub(crate) fn deployment_of(pod: &Pod) -> &str {
    let owner = pod.owner_references().iter().find(|o| o.controller == Some(true));
    owner.and_then(|o| o.name.rsplit_once('-')).map_or("", |(deployment, _)| deployment)
}
