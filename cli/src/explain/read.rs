//! Reads what the links are judged by. Only reads; what may not be read is kept as that.

use std::collections::{BTreeMap, BTreeSet};

use api::{Canary, CanaryRun};
use chrono::{DateTime, Utc};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use providers::traffic::{GatewayName, KINDS, Parent, TrafficProvider};
use serde_json::Value;

use super::facts::{self, Facts, Gateway, Mesh, RoutesOfKind, policy_of};
use super::link::{Blind, Seen};
use super::measured::{Measured, Server, measure};
use super::object::{map, query, text};
use crate::cluster::{Cluster, ClusterError};

const CORE: &str = "";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// What the API server calls a kind.
struct Resource {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

const fn resource(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Resource {
    Resource { group, version, kind, plural }
}

const DEPLOYMENTS: Resource = resource("apps", "v1", "Deployment", "deployments");
const PODS: Resource = resource(CORE, "v1", "Pod", "pods");
const SERVICES: Resource = resource(CORE, "v1", "Service", "services");
const NAMESPACES: Resource = resource(CORE, "v1", "Namespace", "namespaces");
const SLICES: Resource = resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
const GATEWAYS: Resource = resource(GATEWAY_API, "v1", "Gateway", "gateways");
const CLASSES: Resource = resource(GATEWAY_API, "v1", "GatewayClass", "gatewayclasses");
const NETWORK: Resource = resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies");
const PROFILES: Resource = resource("linkerd.io", "v1alpha2", "ServiceProfile", "serviceprofiles");
const POD_MONITORS: Resource = resource("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors");
const SERVICE_MONITORS: Resource =
    resource("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors");
const POLICIES: Resource = resource(
    "admissionregistration.k8s.io",
    "v1",
    "MutatingAdmissionPolicy",
    "mutatingadmissionpolicies",
);
const BINDINGS: Resource = resource(
    "admissionregistration.k8s.io",
    "v1",
    "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybindings",
);

impl Resource {
    fn described(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    /// `networkpolicies.networking.k8s.io`.
    fn full(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

/// # Errors
/// When there is no such Canary, or no API server: nothing can be said then.
pub(super) async fn read(
    cluster: &Cluster,
    canary: &str,
    server: Option<&Server>,
    now: DateTime<Utc>,
) -> Result<Facts, ClusterError> {
    let namespace = &cluster.namespace;
    let canaries: Api<Canary> = Api::namespaced(cluster.client.clone(), namespace);
    let canary = cluster.answer(canaries.get_opt(canary)).await?.ok_or_else(|| {
        ClusterError::NoCanary { name: canary.to_owned(), namespace: namespace.clone() }
    })?;
    let reader = Reader { cluster, namespace };
    let mut facts = Box::pin(reader.facts(canary, now)).await;
    // Which Gateways there are to look at is only known from the routes.
    facts.gateways = reader.gateways(&facts).await;
    facts.measured = measure(&facts, server).await;
    Ok(facts)
}

struct Reader<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
}

impl Reader<'_> {
    async fn facts(&self, canary: Canary, now: DateTime<Utc>) -> Facts {
        let backends = facts::backends(&canary);
        let target_name = canary.spec.target_ref.name.clone();
        let canary_name = format!("{target_name}{}", api::SUFFIX);
        let slices =
            format!("kubernetes.io/service-name in ({},{})", backends.service, backends.canary);
        let profile = format!("{}.{}.svc.cluster.local", backends.service, self.namespace);
        let target = self.get(&DEPLOYMENTS, &target_name).await;
        let labels = match &target {
            Ok(Some(target)) => query(&map(target, "/spec/selector/matchLabels")),
            Ok(None) | Err(_) => String::new(),
        };
        let (canary_deployment, service, canary_service, pods, slices) = tokio::join!(
            self.get(&DEPLOYMENTS, &canary_name),
            self.get(&SERVICES, &backends.service),
            self.get(&SERVICES, &backends.canary),
            self.list(&PODS, Some(self.namespace), &labels),
            self.list(&SLICES, Some(self.namespace), &slices),
        );
        let (run, controllers, split_policy, network_policies, monitors) = tokio::join!(
            self.run(&canary),
            self.list(&DEPLOYMENTS, None, "app.kubernetes.io/name=tidegate"),
            self.split_policy(&canary),
            self.list(&NETWORK, Some(self.namespace), ""),
            self.monitors(),
        );
        let (space, profile) = tokio::join!(
            self.get_global(&NAMESPACES, self.namespace),
            self.get(&PROFILES, &profile)
        );
        let mut routes = vec![];
        for provider in KINDS {
            routes.push(self.routes(provider).await);
        }
        Facts {
            canary,
            now,
            run,
            controllers,
            target,
            canary_deployment,
            pods,
            service,
            canary_service,
            slices,
            routes,
            gateways: BTreeMap::new(),
            split_policy,
            network_policies,
            mesh: Mesh { namespace: space, profile },
            monitors,
            measured: Measured::NotAsked,
        }
    }

    async fn run(&self, canary: &Canary) -> Seen<Option<CanaryRun>> {
        let Some(run) = canary.status.as_ref().and_then(|s| s.run.as_ref()) else {
            return Ok(None);
        };
        let api: Api<CanaryRun> = Api::namespaced(self.cluster.client.clone(), self.namespace);
        let answer = self.cluster.answer(api.get_opt(&run.name)).await;
        answer.map_err(|e| blind(e, "get", "canaryruns.tidegate.dev", Some(self.namespace)))
    }

    /// Of all namespaces, or of this one if that is all that may be read.
    async fn routes(&self, provider: &'static dyn TrafficProvider) -> RoutesOfKind {
        let of = provider.kind();
        let kind = resource(of.group, of.version, of.kind, of.plural);
        if let Ok(all) = self.list(&kind, None, "").await {
            return RoutesOfKind { provider, all: Ok(all), everywhere: true };
        }
        let all = self.list(&kind, Some(self.namespace), "").await;
        RoutesOfKind { provider, all, everywhere: false }
    }

    async fn gateways(&self, facts: &Facts) -> BTreeMap<GatewayName, Gateway> {
        let (routes, _) = facts.found();
        let parents = routes.iter().flat_map(super::facts::Route::parents);
        let names: BTreeSet<GatewayName> = parents
            .filter_map(|parent| match parent {
                Parent::Gateway(name) => Some(name),
                Parent::Service { .. } | Parent::Of(_) => None,
            })
            .collect();
        let mut all = BTreeMap::new();
        for name in names {
            let object = self.get_in(&GATEWAYS, Some(&name.namespace), &name.name).await;
            let class = match &object {
                Ok(Some(gateway)) => {
                    self.get_global(&CLASSES, text(gateway, "/spec/gatewayClassName")).await
                }
                Ok(None) | Err(_) => Ok(None),
            };
            all.insert(name, Gateway { object, class });
        }
        all
    }

    async fn split_policy(&self, canary: &Canary) -> Seen<bool> {
        let traffic = canary.status.as_ref().and_then(|s| s.traffic.as_ref());
        let name = policy_of(traffic.and_then(|t| t.provider.as_deref()));
        let (policy, binding) =
            tokio::join!(self.get_global(&POLICIES, &name), self.get_global(&BINDINGS, &name));
        Ok(policy?.is_some() && binding?.is_some())
    }

    async fn monitors(&self) -> Seen<Vec<Value>> {
        let (pods, services) = tokio::join!(
            self.list(&POD_MONITORS, None, ""),
            self.list(&SERVICE_MONITORS, None, "")
        );
        let (mut all, services) = (pods?, services?);
        all.extend(services);
        Ok(all)
    }

    /// Empty also where the kind isn't installed.
    async fn list(
        &self,
        kind: &Resource,
        namespace: Option<&str>,
        labels: &str,
    ) -> Seen<Vec<Value>> {
        let api = self.api(kind, namespace);
        let params = ListParams::default().labels(labels);
        match self.cluster.answer(api.list(&params)).await {
            Ok(list) => Ok(list.items.into_iter().map(|item| whole(kind, item)).collect()),
            Err(ClusterError::NotInstalled) => Ok(vec![]),
            Err(error) => Err(blind(error, "list", &kind.full(), namespace)),
        }
    }

    async fn get(&self, kind: &Resource, name: &str) -> Seen<Option<Value>> {
        self.get_in(kind, Some(self.namespace), name).await
    }

    async fn get_global(&self, kind: &Resource, name: &str) -> Seen<Option<Value>> {
        self.get_in(kind, None, name).await
    }

    async fn get_in(
        &self,
        kind: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Seen<Option<Value>> {
        let api = self.api(kind, namespace);
        match self.cluster.answer(api.get_opt(name)).await {
            Ok(found) => Ok(found.map(|object| whole(kind, object))),
            Err(ClusterError::NotInstalled) => Ok(None),
            Err(error) => Err(blind(error, "get", &kind.full(), namespace)),
        }
    }

    fn api(&self, kind: &Resource, namespace: Option<&str>) -> Api<DynamicObject> {
        let client = self.cluster.client.clone();
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &kind.described()),
            None => Api::all_with(client, &kind.described()),
        }
    }
}

/// What is listed doesn't say of which kind it is.
fn whole(kind: &Resource, object: DynamicObject) -> Value {
    let mut object = serde_json::to_value(object).unwrap_or_default();
    if let Some(object) = object.as_object_mut() {
        object.insert("kind".to_owned(), kind.kind.into());
    }
    object
}

fn blind(error: ClusterError, verb: &str, what: &str, namespace: Option<&str>) -> Blind {
    let place = match namespace {
        Some(namespace) => format!("-n {namespace}"),
        None => "-A".to_owned(),
    };
    match error {
        ClusterError::Refused(_) => Blind {
            says: format!("no right to {verb} {what}"),
            denied: true,
            next: vec![format!("kubectl auth can-i {verb} {what} {place}")],
        },
        other => Blind {
            says: format!("{what} can't be read: {}", crate::text::chain(&other)),
            denied: false,
            next: vec![],
        },
    }
}
