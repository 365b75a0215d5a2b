//! What was read about one canary: plain data, so that what follows from it can be tested.

use std::collections::{BTreeMap, BTreeSet};

use api::{Canary, CanaryRun, POD_TEMPLATE_HASH, ROLE_LABEL, SUFFIX};
use chrono::{DateTime, Utc};
use providers::traffic::{
    Backends, Found, GatewayName, KINDS, Parent, RouteKind, TrafficProvider, find,
};
use serde_json::Value;

use super::link::Seen;
use super::measured::Measured;
use super::object;

/// All that the links are judged by.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) canary: Canary,
    pub(super) now: DateTime<Utc>,
    /// The one that is on, or was last.
    pub(super) run: Seen<Option<CanaryRun>>,
    /// The controller's own Deployments, wherever they are.
    pub(super) controllers: Seen<Vec<Value>>,
    pub(super) target: Seen<Option<Value>>,
    pub(super) canary_deployment: Seen<Option<Value>>,
    /// Those that the target's selector selects: the canary's too.
    pub(super) pods: Seen<Vec<Value>>,
    pub(super) service: Seen<Option<Value>>,
    pub(super) canary_service: Seen<Option<Value>>,
    /// Of both Services.
    pub(super) slices: Seen<Vec<Value>>,
    /// Of each kind that is installed, of all namespaces if that is allowed.
    pub(super) routes: Vec<RoutesOfKind>,
    pub(super) gateways: BTreeMap<GatewayName, Gateway>,
    /// Both the policy and its binding are there.
    pub(super) split_policy: Seen<bool>,
    pub(super) network_policies: Seen<Vec<Value>>,
    pub(super) mesh: Mesh,
    /// `PodMonitor`s and `ServiceMonitor`s, where they are known.
    pub(super) monitors: Seen<Vec<Value>>,
    pub(super) measured: Measured,
}

#[derive(Clone, Debug)]
pub(super) struct RoutesOfKind {
    pub(super) provider: &'static dyn TrafficProvider,
    pub(super) all: Seen<Vec<Value>>,
    /// Other namespaces too: else nobody knows who claims the same requests from there.
    pub(super) everywhere: bool,
}

/// A Gateway, and the class that says who programs it.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    pub(super) object: Seen<Option<Value>>,
    pub(super) class: Seen<Option<Value>>,
}

/// What meshes look at beside the route.
#[derive(Clone, Debug)]
pub(super) struct Mesh {
    pub(super) namespace: Seen<Option<Value>>,
    /// Linkerd's, of the Service's name.
    pub(super) profile: Seen<Option<Value>>,
}

/// A route that is or can be split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) provider: &'static dyn TrafficProvider,
    pub(super) object: &'a Value,
}

impl Route<'_> {
    /// `httproute/web`, as kubectl takes it.
    pub(super) fn called(&self) -> String {
        self.provider.kind().called(object::name(self.object))
    }

    pub(super) fn parents(&self) -> Vec<Parent> {
        self.provider.parents(self.object)
    }
}

impl Facts {
    pub(super) fn namespace(&self) -> &str {
        self.canary.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.canary.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn target_name(&self) -> &str {
        &self.canary.spec.target_ref.name
    }

    pub(super) fn canary_name(&self) -> String {
        format!("{}{SUFFIX}", self.target_name())
    }

    pub(super) fn service_name(&self) -> &str {
        &self.canary.spec.traffic.service.name
    }

    pub(super) fn backends(&self) -> Backends {
        backends(&self.canary)
    }

    /// The phase as the status has it.
    pub(super) fn phase(&self) -> &str {
        self.canary.status.as_ref().map_or("", |status| &status.phase)
    }

    /// The share that the run means the canary to have, in percent.
    pub(super) fn intended(&self) -> u8 {
        let traffic = self.canary.status.as_ref().and_then(|s| s.traffic.as_ref());
        traffic.map_or(0, |t| t.intended)
    }

    /// Neither a share nor single requests, nor copies of some.
    pub(super) fn nothing_is_meant(&self) -> bool {
        let traffic = self.canary.status.as_ref().and_then(|s| s.traffic.as_ref());
        traffic.is_none_or(|t| t.intended == 0 && t.matches.is_empty() && t.mirrored.is_none())
    }

    pub(super) fn run_is_on(&self) -> bool {
        let run = self.canary.status.as_ref().and_then(|s| s.run.as_ref());
        run.is_some_and(|run| run.ended_at.is_none())
    }

    /// A run is on and is not on its way out: its canary is to get what the step says.
    pub(super) fn stepping(&self) -> bool {
        self.run_is_on() && matches!(self.phase(), "Progressing" | "WaitingPromotion")
    }

    /// No route splits: the user's Service is pointed at one revision or the other.
    pub(super) fn by_selector(&self) -> bool {
        self.canary.spec.provider == Some(api::Provider::Kubernetes)
    }

    /// The hash that the user's Service selects by.
    pub(super) fn selected_hash(&self) -> Option<&str> {
        let service = self.service.as_ref().ok()?.as_ref()?;
        service.pointer("/spec/selector")?.get(POD_TEMPLATE_HASH)?.as_str()
    }

    /// Those that the user's Service selects.
    pub(super) fn selected_pods(&self) -> Vec<&Value> {
        let service = self.service.as_ref().ok().and_then(Option::as_ref);
        let selector = service.map(|s| object::map(s, "/spec/selector")).unwrap_or_default();
        self.living(|pod| object::unmet(&selector, &object::map(pod, "/metadata/labels")).is_none())
    }

    /// Those of the canary.
    pub(super) fn canary_pods(&self) -> Vec<&Value> {
        self.living(|pod| object::label(pod, ROLE_LABEL) == Some(controller::objects::ROLE))
    }

    /// Those that stable serves with: of the revision that the Service is pinned to, if it is.
    pub(super) fn stable_pods(&self) -> Vec<&Value> {
        // What the Service selects may be the canary where no route splits.
        let pinned = self.selected_hash().filter(|_| !self.by_selector());
        self.living(|pod| {
            object::label(pod, ROLE_LABEL).is_none()
                && pinned.is_none_or(|hash| object::label(pod, POD_TEMPLATE_HASH) == Some(hash))
        })
    }

    fn living(&self, of: impl Fn(&Value) -> bool) -> Vec<&Value> {
        let pods = self.pods.iter().flatten();
        pods.filter(|pod| object::lives(pod) && of(pod)).collect()
    }

    pub(super) fn slices_of(&self, service: &str) -> Vec<&Value> {
        let of = |s: &&Value| object::label(s, "kubernetes.io/service-name") == Some(service);
        self.slices.iter().flatten().filter(of).collect()
    }

    /// Routes of the canary's namespace that split or can split its requests, as the controller finds them.
    pub(super) fn found(&self) -> (Vec<Route<'_>>, Vec<String>) {
        let (mut routes, mut refused) = (vec![], vec![]);
        for kind in self.kinds() {
            let Ok(all) = &kind.all else { continue };
            let home = || all.iter().filter(|r| object::namespace(r) == self.namespace());
            let Found { routes: found, refused: why } =
                find(kind.provider, home(), &self.backends());
            let names: BTreeSet<_> = found.iter().map(|r| r.name.as_str()).collect();
            let own = home().filter(|r| names.contains(object::name(r)));
            routes.extend(own.map(|object| Route { provider: kind.provider, object }));
            refused.extend(why.iter().map(ToString::to_string));
        }
        (routes, refused)
    }

    /// Of the provider that the spec names, or else of the one that the controller has found; of all, if there is neither.
    /// istiod says something about waypoints, which it does only where ambient is on: without, sidecars follow the route.
    pub(super) fn waypoints_asked_for(&self) -> bool {
        let says = |condition: &Value| condition["type"] == "ResolvedWaypoints";
        let (routes, _) = self.found();
        let mut parents = routes.iter().flat_map(|r| object::list(r.object, "/status/parents"));
        parents.any(|parent| object::list(parent, "/conditions").iter().any(says))
    }

    /// The admission policy that splits the routes of this provider.
    pub(super) fn split_policy_name(&self) -> String {
        let traffic = self.canary.status.as_ref().and_then(|s| s.traffic.as_ref());
        policy_of(traffic.and_then(|t| t.provider.as_deref()))
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &RoutesOfKind> {
        let traffic = self.canary.status.as_ref().and_then(|s| s.traffic.as_ref());
        let known = traffic.and_then(|t| t.provider.as_deref());
        let wanted = self.canary.spec.provider.map(api::Provider::name).or(known);
        self.routes.iter().filter(move |k| wanted.is_none_or(|w| w == k.provider.kind().provider))
    }
}

pub(super) fn backends(canary: &Canary) -> Backends {
    let service = canary.spec.traffic.service.name.clone();
    Backends {
        namespace: canary.metadata.namespace.clone().unwrap_or_default(),
        canary: format!("{service}{SUFFIX}"),
        service,
    }
}

/// The admission policy that splits the routes of a provider, by its name in the status.
pub(super) fn policy_of(provider: Option<&str>) -> String {
    let mut kinds = KINDS.iter().map(|p| p.kind()).filter(|kind| !kind.rules.is_empty());
    let of = kinds.find(|kind| provider.is_none_or(|p| p == kind.provider));
    of.map(RouteKind::policy).unwrap_or_default()
}
