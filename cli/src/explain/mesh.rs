//! What meshes and networks do to requests beside the route: waypoints, profiles, sidecars, network policies.

use std::collections::BTreeMap;

use providers::traffic::{Parent, System};
use serde_json::Value;

use super::facts::Facts;
use super::link::{Break, State, count};
use super::object::{condition, label, list, map, name, says, selects, text};

/// Puts a Service's requests through a waypoint, where an `HTTPRoute` is looked at (istio.io, "Use waypoint proxies").
const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// The containers of the proxies that meshes put into pods.
const SIDECARS: [&str; 2] = ["istio-proxy", "linkerd-proxy"];

const ISTIO: &str = "istio.io/gateway-controller";
const LINKERD: &str = "linkerd.io/policy-controller";
const CILIUM: &str = "io.cilium/gateway-controller";

/// `None` where no mesh has a part in it.
pub(super) fn mesh(facts: &Facts) -> Option<State> {
    if let Some(broken) = sidecars(facts) {
        return Some(broken);
    }
    let controller = controller(facts)?;
    Some(match controller.as_str() {
        ISTIO => waypoint(facts),
        LINKERD => profile(facts),
        CILIUM => gamma(facts),
        other => State::unknown(format!("nobody knows what {other} needs beside the route")),
    })
}

/// Who splits the requests to the Service, if a mesh does.
fn controller(facts: &Facts) -> Option<String> {
    let (routes, _) = facts.found();
    let mut parents = routes.iter().flat_map(super::facts::Route::parents);
    parents.find_map(|parent| match parent {
        Parent::Service { controller, .. } => controller,
        Parent::Gateway(_) | Parent::Of(_) => None,
    })
}

/// Commands of the mesh's own tool that show what it makes of the route.
pub(super) fn commands(facts: &Facts, controller: Option<&str>) -> Vec<String> {
    let (space, service) = (facts.namespace(), facts.service_name());
    match controller {
        Some(ISTIO) => vec![
            format!("istioctl analyze -n {space}"),
            format!("istioctl ztunnel-config services --service-namespace {space}"),
        ],
        Some(LINKERD) => {
            vec![format!("linkerd diagnostics policy -n {space} svc/{service} {}", port(facts))]
        }
        Some(CILIUM) => vec![
            format!("kubectl get ciliumenvoyconfigs -n {space} -o yaml"),
            format!("hubble observe --to-service {space}/{service} --last 20"),
        ],
        Some(_) | None => vec![],
    }
}

fn port(facts: &Facts) -> u64 {
    let service = facts.service.as_ref().ok().and_then(Option::as_ref);
    let port = service.and_then(|s| s.pointer("/spec/ports/0/port")?.as_u64());
    port.unwrap_or(80)
}

fn waypoint(facts: &Facts) -> State {
    let (space, service) = (facts.namespace(), facts.service_name());
    let Ok(Some(object)) = &facts.service else {
        return State::unknown("the service's labels could not be read");
    };
    let of_namespace = match &facts.mesh.namespace {
        Ok(namespace) => namespace.as_ref().and_then(|n| label(n, USE_WAYPOINT)),
        Err(blind) => return blind.clone().into(),
    };
    let used = label(object, USE_WAYPOINT).or(of_namespace).filter(|w| *w != "none");
    let mut next = vec![
        format!("kubectl get services -n {space} -L {USE_WAYPOINT},istio.io/ingress-use-waypoint"),
        format!("istioctl waypoint list -n {space}"),
        format!("istioctl ztunnel-config services --service-namespace {space}"),
    ];
    if used.is_none() && !facts.waypoints_asked_for() {
        return State::holds("Istio, by its clients' sidecars".to_owned());
    }
    let Some(used) = used else {
        next.push(format!("kubectl label service {service} -n {space} {USE_WAYPOINT}=waypoint"));
        return Break {
            says: format!("requests to service/{service} pass no waypoint, so Istio does not look at the route"),
            read: format!("no label {USE_WAYPOINT} on the service, nor on namespace {space}"),
            expected: "the label, with the name of a waypoint".to_owned(),
            next,
        }
        .into();
    };
    let bound = condition(object, "/status/conditions", "istio.io/WaypointBound");
    if let Some(unbound) = bound.filter(|c| text(c, "/status") == "False") {
        next.insert(1, format!("istioctl waypoint status --name {used} -n {space} --wait=false"));
        return Break {
            says: format!("service/{service} is not bound to its waypoint {used}"),
            read: says(unbound),
            expected: "istio.io/WaypointBound True".to_owned(),
            next,
        }
        .into();
    }
    State::holds(format!("Istio, by waypoint {used}"))
}

/// Linkerd: a `ServiceProfile` with routes or overrides takes the place of every route of the Service.
fn profile(facts: &Facts) -> State {
    let profile = match &facts.mesh.profile {
        Ok(Some(profile)) => profile,
        Ok(None) => return State::holds("Linkerd, and no ServiceProfile takes the route's place"),
        Err(blind) => return blind.clone().into(),
    };
    let (routes, overrides) = (list(profile, "/spec/routes"), list(profile, "/spec/dstOverrides"));
    if routes.is_empty() && overrides.is_empty() {
        return State::holds("Linkerd, and its ServiceProfile leaves the route in place");
    }
    let (space, service) = (facts.namespace(), facts.service_name());
    Break {
        says: format!("a ServiceProfile makes Linkerd ignore every route of service/{service}"),
        read: format!(
            "serviceprofile/{} has {} and {}",
            name(profile),
            count(routes.len(), "route", "routes"),
            count(overrides.len(), "dstOverride", "dstOverrides")
        ),
        expected: "none of that name; retries and timeouts can be annotations of the service"
            .to_owned(),
        next: vec![
            format!("kubectl get serviceprofiles.linkerd.io -n {space}"),
            format!("linkerd diagnostics policy -n {space} svc/{service} {}", port(facts)),
            format!("kubectl delete serviceprofiles.linkerd.io {} -n {space}", name(profile)),
        ],
    }
    .into()
}

/// Cilium says on the Service whether its routes are attached and programmed.
fn gamma(facts: &Facts) -> State {
    let Ok(Some(service)) = &facts.service else {
        return State::unknown("the service's conditions could not be read");
    };
    for kind in ["gamma.cilium.io/GammaRoutesAttached", "gamma.cilium.io/GammaRoutesProgrammed"] {
        let found = condition(service, "/status/conditions", kind);
        if let Some(bad) = found.filter(|c| text(c, "/status") == "False") {
            let mut next = vec![format!(
                "kubectl get service {} -n {} -o jsonpath='{{.status.conditions}}'",
                name(service),
                facts.namespace()
            )];
            next.extend(commands(facts, Some(CILIUM)));
            return Break {
                says: format!("Cilium does not route the requests to service/{}", name(service)),
                read: says(bad),
                expected: format!("{kind} True"),
                next,
            }
            .into();
        }
    }
    State::holds("Cilium has attached and programmed the route")
}

/// Stable has a proxy in its pods, and the canary has not: nobody in the mesh can talk to it as it should.
fn sidecars(facts: &Facts) -> Option<State> {
    let (stable, canary) = (facts.stable_pods(), facts.canary_pods());
    let (stable, pod) = (stable.first()?, canary.first()?);
    let proxy =
        SIDECARS.into_iter().find(|p| has_container(stable, p) && !has_container(pod, p))?;
    let space = facts.namespace();
    let containers =
        "NAME:.metadata.name,CONTAINERS:.spec.containers[*].name,INIT:.spec.initContainers[*].name";
    let mut next = vec![format!("kubectl get pods -n {space} -o custom-columns={containers}")];
    next.push(match proxy {
        "linkerd-proxy" => format!("linkerd check --proxy -n {space}"),
        _ => format!("istioctl experimental check-inject -n {space} {}", name(pod)),
    });
    Some(
        Break {
            says: format!("the canary's pods are outside of the mesh: they have no {proxy}"),
            read: format!("{} has one, {} has none", name(stable), name(pod)),
            expected: "the same injection for both; the new pod template switches it off"
                .to_owned(),
            next,
        }
        .into(),
    )
}

fn has_container(pod: &Value, wanted: &str) -> bool {
    let all = ["/spec/containers", "/spec/initContainers"];
    all.into_iter().flat_map(|at| list(pod, at)).any(|c| text(c, "/name") == wanted)
}

/// No network policy keeps requests from the canary's pods.
pub(super) fn network(facts: &Facts) -> State {
    let policies = match &facts.network_policies {
        Ok(policies) => policies,
        Err(blind) => return blind.clone().into(),
    };
    let (canary, stable) = (facts.canary_pods(), facts.stable_pods());
    let Some(pod) = canary.first() else { return State::unknown("there are no canary pods") };
    let on = |pod: &Value| isolating(policies, &map(pod, "/metadata/labels"));
    let (ours, theirs) = (on(pod), stable.first().map(|pod| on(pod)));
    let names = || ours.iter().map(|p| name(p)).collect::<Vec<_>>().join(", ");
    if ours.is_empty() {
        return State::holds("no network policy selects the canary's pods");
    }
    let rules = || ours.iter().flat_map(|p| list(p, "/spec/ingress"));
    if rules().next().is_none() {
        return isolated(facts, pod, &names());
    }
    if rules().any(open) {
        return State::holds(format!(
            "{} of the canary's pods let everybody in",
            policies_of(ours.len())
        ));
    }
    if theirs.is_some_and(|theirs| theirs == ours) {
        return State::holds(format!(
            "{} for the canary's pods, the same as for stable's",
            policies_of(ours.len())
        ));
    }
    let next = vec![format!("kubectl describe networkpolicies -n {}", facts.namespace())];
    let says = format!(
        "{} only lets some peers in to the canary's pods, and it is not known whether the gateway is among them",
        names()
    );
    super::link::Blind { says, denied: false, next }.into()
}

fn policies_of(n: usize) -> String {
    count(n, "network policy", "network policies")
}

fn isolated(facts: &Facts, pod: &Value, names: &str) -> State {
    let space = facts.namespace();
    Break {
        says: "a network policy lets nobody in to the canary's pods".to_owned(),
        read: format!(
            "{names} selects {} for ingress, and there is no rule that allows any",
            name(pod)
        ),
        expected: "a rule that lets the gateway or the clients in".to_owned(),
        next: vec![
            format!("kubectl describe networkpolicies -n {space}"),
            format!("hubble observe --verdict DROPPED --to-pod {space}/{}", name(pod)),
        ],
    }
    .into()
}

/// Those that isolate a pod of these labels for what comes in.
fn isolating<'a>(policies: &'a [Value], labels: &BTreeMap<String, String>) -> Vec<&'a Value> {
    let isolates = |policy: &&Value| {
        let types = list(policy, "/spec/policyTypes");
        let ingress = types.is_empty() || types.iter().any(|t| t == "Ingress");
        ingress && selects(policy.pointer("/spec/podSelector").unwrap_or(&Value::Null), labels)
    };
    policies.iter().filter(isolates).collect()
}

/// From everywhere, to every port.
fn open(rule: &Value) -> bool {
    list(rule, "/from").is_empty() && list(rule, "/ports").is_empty()
}

/// Commands of a system that has kinds of routes of its own.
pub(super) fn own(facts: &Facts, system: &System) -> Vec<String> {
    match system {
        System::Istio
        | System::IstioWithoutTelemetry
        | System::IstioGateway(_)
        | System::IstioMesh(_)
        | System::IstioAmbient => vec![
            format!("istioctl analyze -n {}", facts.namespace()),
            "istioctl proxy-status".to_owned(),
        ],
        System::Traefik
        | System::EnvoyGateway
        | System::Contour
        | System::TraefikService
        | System::Kubernetes
        | System::Linkerd
        | System::CiliumGateway
        | System::CiliumMesh
        | System::ContourGateway
        | System::Kgateway
        | System::NginxGatewayFabric
        | System::Other(_) => vec![],
    }
}

/// What shows that the system itself sends requests elsewhere.
pub(super) fn of_system(facts: &Facts) -> Vec<String> {
    let (space, target) = (facts.namespace(), facts.canary_name());
    let (routes, _) = facts.found();
    let mut parents = routes.iter().flat_map(super::facts::Route::parents);
    let kind_of_its_own = parents.find_map(|parent| match parent {
        Parent::Of(system) => Some(system),
        Parent::Gateway(_) | Parent::Service { .. } => None,
    });
    if let Some(system) = kind_of_its_own {
        return own(facts, &system);
    }
    match controller(facts).as_deref() {
        Some(LINKERD) => {
            let mut next = vec![format!("linkerd viz stat-inbound -n {space} deploy/{target}")];
            next.extend(commands(facts, Some(LINKERD)));
            next
        }
        other => commands(facts, other),
    }
}
