//! What the cluster says about one canary: read once per decision, from the caches where they have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::Profile;
use api::{Canary, CanaryRun};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Resource, ResourceExt};
use providers::traffic::{Around, Backends, Capabilities, Observed, System};
use rollout::{CanaryPods, Effect, Pods, Revision, Shape, Target, Traffic, Workload as Seen};

use crate::Context;
use crate::replica_sets::Revised;
use crate::routes::{Route, Routes};
use crate::selector::{self, Wanted};
use crate::trouble;
use crate::watched::Workload;

/// The objects of one canary.
pub(crate) struct World {
    pub(crate) namespace: String,
    pub(crate) canary: Arc<Canary>,
    pub(crate) target: Option<Arc<Workload>>,
    pub(crate) replica_sets: Vec<Revised>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) canary_service: Option<Arc<Service>>,
    pub(crate) canary_deployment: Option<Arc<Workload>>,
    pub(crate) canary_pods: Vec<Arc<Pod>>,
    pub(crate) ready: u32,
    pub(crate) backends: Backends,
    pub(crate) routes: Routes,
    /// That is asked for.
    provider: Option<api::Provider>,
    /// Of the systems behind the routes.
    pub(crate) capabilities: Capabilities,
    /// What proves that the systems do what they say. Read while a run is on: at rest nothing has to be proved.
    pub(crate) around: Option<Around>,
    /// Why what would prove the routes could not be read.
    pub(crate) unproved: Option<String>,
}

impl World {
    /// # Errors
    /// When the API server doesn't say which ReplicaSets there are.
    pub(crate) async fn read(
        ctx: &Context,
        canary: &Arc<Canary>,
        run: Option<&CanaryRun>,
    ) -> Result<Self, kube::Error> {
        // A run goes on with the provider that it has begun with, whatever the spec says by now.
        let provider = run.and_then(|run| run.spec.plan.provider).or(canary.spec.provider);
        let namespace = canary.namespace().unwrap_or_default();
        let caches = &ctx.caches;
        let (name, service) = (&canary.spec.target_ref.name, &canary.spec.traffic.service.name);
        let canary_name = format!("{name}{}", api::SUFFIX);
        let backends = Backends {
            namespace: namespace.clone(),
            service: service.clone(),
            canary: format!("{service}{}", api::SUFFIX),
        };
        let target = caches.deployment(&namespace, name);
        let replica_sets = match &target {
            Some(target) => ctx.replica_sets.of(ctx, &namespace, target).await?,
            None => vec![],
        };
        Ok(Self {
            canary_service: caches.service(&namespace, &backends.canary),
            service: caches.service(&namespace, service),
            canary_pods: canary_pods(ctx, &namespace, &canary_name),
            canary_deployment: caches.deployment(&namespace, &canary_name),
            ready: ready_endpoints(ctx, &namespace, &backends.canary),
            routes: Routes::of(caches, canary, provider, &backends),
            provider,
            capabilities: capabilities(canary),
            around: None,
            unproved: None,
            canary: canary.clone(),
            namespace,
            target,
            replica_sets,
            backends,
        })
    }

    pub(crate) fn name(&self) -> String {
        self.canary.name_any()
    }

    pub(crate) fn canary_name(&self) -> String {
        format!("{}{}", self.canary.spec.target_ref.name, api::SUFFIX)
    }

    /// Whether `object` is one that this canary has made.
    pub(crate) fn owns<K: Resource>(&self, object: &K) -> bool {
        let uid = self.canary.metadata.uid.as_deref();
        let owners = object.meta().owner_references.iter().flatten();
        uid.is_some() && owners.into_iter().any(|o| Some(o.uid.as_str()) == uid)
    }

    pub(crate) fn hash_of(&self, revision: &Revision) -> Option<&str> {
        self.replica_sets.iter().find(|rs| rs.revision == *revision).map(|rs| rs.hash.as_str())
    }

    pub(crate) fn seen_target(&self) -> Target {
        let Some(target) = &self.target else { return Target::Missing };
        let mut pods = BTreeMap::new();
        for rs in &self.replica_sets {
            let sum: &mut Pods = pods.entry(rs.revision.clone()).or_default();
            sum.desired += rs.pods.desired;
            sum.existing += rs.pods.existing;
            sum.ready += rs.pods.ready;
            sum.available += rs.pods.available;
        }
        Target::Found(Seen {
            revision: target.spec.template.revision.clone(),
            paused: target.spec.paused,
            replicas: target.spec.replicas,
            current: target.current(),
            pods,
        })
    }

    pub(crate) fn seen_canary(&self) -> CanaryPods {
        let ours = self.canary_deployment.as_ref().filter(|d| self.owns(&***d));
        CanaryPods {
            revision: ours.map(|d| d.spec.template.revision.clone()),
            ready: self.ready,
            existing: u32::try_from(self.canary_pods.len()).unwrap_or(u32::MAX),
            broken: trouble::broken(&self.canary_pods),
            trouble: trouble::waiting(&self.canary_pods)
                .or_else(|| ours.and_then(|d| d.replica_failure()).map(trouble::short)),
        }
    }

    /// No route splits: the user's Service is pointed at one revision or the other.
    pub(crate) fn by_selector(&self) -> bool {
        self.provider == Some(api::Provider::Kubernetes)
    }

    /// The hash that the pods of the canary have.
    pub(crate) fn canary_hash(&self) -> Option<&str> {
        let labels = self.canary_pods.iter().filter_map(|pod| pod.metadata.labels.as_ref());
        labels.filter_map(|l| l.get(api::POD_TEMPLATE_HASH)).map(String::as_str).next()
    }

    /// The hash that the user's Service selects by.
    pub(crate) fn selected_hash(&self) -> Option<&str> {
        let selector = self.service.as_ref()?.spec.as_ref()?.selector.as_ref()?;
        selector.get(api::POD_TEMPLATE_HASH).map(String::as_str)
    }

    /// The pin of the Service, and what the traffic is, with these effects wanted.
    pub(crate) fn seen_split(&self, wanted: &[Effect]) -> (Option<Revision>, Traffic) {
        if !self.by_selector() {
            return (self.pinned(), self.seen_traffic());
        }
        let selected = self.selected_hash();
        let canary = selected.is_some() && selected == self.canary_hash();
        let (pinned, weight) = selector::seen(self.pinned(), canary, &Wanted::of(wanted));
        let traffic = Traffic {
            stored: weight.map(Shape::weight),
            accepted: true,
            trouble: None,
            settle: self.capabilities.settle,
            observable: self.observable(),
            by_weight: false, // pods come in whole numbers
        };
        (pinned, traffic)
    }

    fn seen_traffic(&self) -> Traffic {
        let read =
            self.routes.all.iter().map(|route| route.read(&self.backends, self.around.as_ref()));
        let (settle, observable) = (self.capabilities.settle, self.observable());
        let by_weight = self.by_weight();
        match Observed::together(read) {
            Some(Observed { stored, accepted, trouble }) => {
                let accepted = accepted && self.unproved.is_none();
                let trouble = trouble.or_else(|| self.unproved.clone());
                Traffic { stored, accepted, trouble, settle, observable, by_weight }
            }
            None => Traffic {
                stored: None,
                accepted: false,
                trouble: Some(format!("no route names service {}", self.backends.service)),
                settle,
                observable,
                by_weight,
            },
        }
    }

    /// The metrics of the systems behind the routes count what is routed, and nothing else.
    fn observable(&self) -> bool {
        self.capabilities.profile.is_some_and(Profile::counts_routed)
    }

    /// Sidecars count the requests of clients that a gateway's route never sees, and cookies keep clients where they were.
    fn by_weight(&self) -> bool {
        let from_everywhere = matches!(self.capabilities.profile, Some(Profile::Istio(_)));
        let sticky = |route: &Route| route.object.pointer("/spec/weighted/sticky").is_some();
        self.observable() && !from_everywhere && !self.routes.all.iter().any(sticky)
    }

    /// The revision that the user's Service is pinned to. A hash that no ReplicaSet has any more stands for itself.
    pub(crate) fn pinned(&self) -> Option<Revision> {
        let hash = self.selected_hash()?;
        let known = self.replica_sets.iter().find(|rs| rs.hash == *hash);
        Some(known.map_or_else(|| Revision::new(hash), |rs| rs.revision.clone()))
    }
}

/// Of the systems that were found out at rest; a run relies on it. None known yet: like one that nobody knows.
fn capabilities(canary: &Canary) -> Capabilities {
    let traffic = canary.status.as_ref().and_then(|s| s.traffic.as_ref());
    let systems = traffic.map(|t| t.systems.as_slice()).unwrap_or_default();
    let all = systems.iter().map(|name| System::named(name).capabilities());
    all.reduce(|a, b| a.and(&b)).unwrap_or_else(|| System::Other(String::new()).capabilities())
}

/// Pods of the canary's Deployment, those that are going included.
fn canary_pods(ctx: &Context, namespace: &str, deployment: &str) -> Vec<Arc<Pod>> {
    let mut pods = ctx.caches.pods.state_filter(|pod| {
        pod.metadata.namespace.as_deref() == Some(namespace)
            && crate::caches::deployment_of(pod) == deployment
    });
    pods.sort_by_key(|pod| pod.name_any());
    pods
}

fn ready_endpoints(ctx: &Context, namespace: &str, service: &str) -> u32 {
    let slices = ctx.caches.endpoints.state_filter(|slice| {
        slice.metadata.namespace.as_deref() == Some(namespace)
            && slice.labels().get("kubernetes.io/service-name").is_some_and(|s| s == service)
            // A Service whose named port the pods don't have has addresses that nobody can send to.
            && slice.ports.as_ref().is_some_and(|ports| !ports.is_empty())
    });
    // A pod with two addresses has two slices.
    let per_family = |family: &str| {
        let of_family = slices.iter().filter(|s| s.address_type == family);
        let endpoints = of_family.flat_map(|s| s.endpoints.iter().flatten());
        let ready =
            endpoints.filter(|e| e.conditions.as_ref().is_none_or(|c| c.ready.unwrap_or(true)));
        u32::try_from(ready.count()).unwrap_or(u32::MAX)
    };
    per_family("IPv4").max(per_family("IPv6"))
}

/// The run that is on, and the newest one that has ended.
pub(crate) struct Runs {
    pub(crate) on: Option<Arc<CanaryRun>>,
    pub(crate) last: Option<Arc<CanaryRun>>,
    pub(crate) all: Vec<Arc<CanaryRun>>,
}

impl Runs {
    pub(crate) fn of(ctx: &Context, canary: &Canary) -> Self {
        let uid = canary.uid().unwrap_or_default();
        let all = ctx.written.over(&uid, ctx.caches.runs_of(canary));
        let ended =
            |run: &Arc<CanaryRun>| run.status.as_ref().is_some_and(|s| s.ended_at.is_some());
        Self {
            on: all.iter().find(|run| !ended(run)).cloned(),
            last: all.iter().find(|run| ended(run)).cloned(),
            all,
        }
    }
}
