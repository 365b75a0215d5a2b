//! The links between a client and the Services: routes, their Gateways, other routes, and the shares in them.

use providers::traffic::{GatewayName, Observed, Parent, System, TrafficProvider, names_of_kinds};
use rollout::{Shape, Weight};
use serde_json::Value;

use super::facts::{Facts, Gateway, Route, RoutesOfKind};
use super::link::{Blind, Break, State};
use super::object::{condition, name, namespace, says, text};

/// In full: Istio has gateways of its own.
const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";

/// A route names the Service, and can be split.
pub(super) fn route(facts: &Facts) -> State {
    let space = facts.namespace();
    let service = facts.service_name();
    let (routes, refused) = facts.found();
    let names = |route: &Route| route.provider.services(route.object).iter().any(|s| s == service);
    if let Some(why) = refused.first() {
        return Break {
            says: "a route names the service in a way that can't be split".to_owned(),
            read: why.clone(),
            expected: format!("rules whose only backend is service {service}"),
            next: vec![look_at_backends(facts)],
        }
        .into();
    }
    let Some(first) = routes.iter().find(|r| names(r)) else {
        // It may be of a kind that may not be read.
        let blind = facts.kinds().find_map(|k| k.all.as_ref().err());
        return blind.map_or_else(|| no_route(facts, &routes), |blind| blind.clone().into());
    };
    let others = routes.len() - 1;
    let more = if others == 0 { String::new() } else { format!(" and {others} more") };
    State::holds(format!("{}{more} in {space} names service {service}", first.called()))
}

fn no_route(facts: &Facts, held: &[Route]) -> State {
    let (space, service) = (facts.namespace(), facts.service_name());
    let kinds = names_of_kinds(facts.canary.spec.provider.map(api::Provider::name));
    let elsewhere: Vec<String> = facts
        .kinds()
        .flat_map(|k| {
            k.all.iter().flatten().map(move |object| Route { provider: k.provider, object })
        })
        .filter(|route| namespace(route.object) == space)
        .map(|route| {
            let services = route.provider.services(route.object);
            let services =
                if services.is_empty() { "no service".to_owned() } else { services.join(", ") };
            format!("{} names {services}", route.called())
        })
        .collect();
    let read = match elsewhere.as_slice() {
        [] => format!("no {kinds} in namespace {space}"),
        some => some.join("; "),
    };
    let says = match held {
        [] => format!("no {kinds} in namespace {space} names service {service}"),
        [held, ..] => format!(
            "{} was split for service {service}, and does not name it any more",
            held.called()
        ),
    };
    let expected = match &facts.canary.spec.traffic.route {
        Some(_) => "the route that spec.traffic.route asks for; the controller makes it".to_owned(),
        None => format!("a rule whose only backend is service {service}"),
    };
    Break { says, read, expected, next: vec![look_at_backends(facts)] }.into()
}

fn look_at_backends(facts: &Facts) -> String {
    let plurals: Vec<_> = facts
        .kinds()
        .filter(|k| k.all.as_ref().is_ok_and(|all| !all.is_empty()))
        .map(|k| k.provider.kind().crd())
        .collect();
    let plurals = if plurals.is_empty() {
        facts.kinds().map(|k| k.provider.kind().crd()).take(1).collect()
    } else {
        plurals
    };
    format!("kubectl get {} -n {} -o yaml", plurals.join(","), facts.namespace())
}

/// Somebody programs what the routes are attached to.
pub(super) fn gateway(facts: &Facts) -> State {
    let (routes, _) = facts.found();
    let mut told = vec![];
    for route in &routes {
        for parent in route.parents() {
            match parent_state(facts, route, &parent) {
                State::Holds { says } if !told.contains(&says) => told.push(says),
                State::Holds { .. } => {}
                other => return other,
            }
        }
    }
    if told.is_empty() {
        return State::unknown("no route was found, so nobody knows who programs it");
    }
    State::holds(told.join("; "))
}

fn parent_state(facts: &Facts, route: &Route, parent: &Parent) -> State {
    match parent {
        Parent::Gateway(name) => match facts.gateways.get(name) {
            Some(gateway) => gateway_state(name, gateway, route),
            None => State::unknown(format!("gateway {name} was not looked at")),
        },
        Parent::Of(system) => State::holds(format!("{system} programs {}", route.called())),
        Parent::Service { name, controller: Some(controller) } => {
            State::holds(format!("service {name}, by {}", System::of_service(controller)))
        }
        Parent::Service { name, controller: None } => Break {
            says: format!("no mesh has answered for {} on service {name}", route.called()),
            read: "status.parents has no entry for it".to_owned(),
            expected:
                "an answer of Istio, Linkerd or Cilium; is one installed, and is the service in it?"
                    .to_owned(),
            next: vec![
                look_at_status(route),
                "istioctl ztunnel-config services".to_owned(),
                "linkerd check".to_owned(),
                "cilium status".to_owned(),
            ],
        }
        .into(),
    }
}

fn look_at_status(route: &Route) -> String {
    format!(
        "kubectl describe {} {} -n {}",
        route.provider.kind().crd(),
        name(route.object),
        namespace(route.object)
    )
}

fn gateway_state(gateway: &GatewayName, found: &Gateway, route: &Route) -> State {
    let look = format!("kubectl get {GATEWAYS} -n {}", gateway.namespace);
    let object = match &found.object {
        Ok(Some(object)) => object,
        Ok(None) => {
            return Break {
                says: format!(
                    "{} is attached to gateway {gateway}, which does not exist",
                    route.called()
                ),
                read: "spec.parentRefs names it".to_owned(),
                expected: "a gateway of that name and namespace".to_owned(),
                next: vec![format!("kubectl get {GATEWAYS} -A")],
            }
            .into();
        }
        Err(blind) => return blind.clone().into(),
    };
    let class_name = text(object, "/spec/gatewayClassName");
    let class = match &found.class {
        Ok(Some(class)) => class,
        Ok(None) => {
            return Break {
                says: format!("the class of gateway {gateway} does not exist"),
                read: format!("spec.gatewayClassName: {class_name}"),
                expected: "a gatewayclass of that name".to_owned(),
                next: vec!["kubectl get gatewayclasses.gateway.networking.k8s.io".to_owned(), look],
            }
            .into();
        }
        Err(blind) => return blind.clone().into(),
    };
    let controller = text(class, "/spec/controllerName");
    let answer = condition(object, "/status/conditions", "Accepted");
    // What the API server writes itself until a controller does.
    let waits = answer.is_none_or(|c| text(c, "/status") == "Unknown");
    if waits {
        return Break {
            says: format!("nobody programs gateway {gateway}"),
            read: format!(
                "its class {class_name} is for {controller}, which has not answered: {}",
                answer.map_or("no condition Accepted".to_owned(), says)
            ),
            expected: "Accepted True; is that controller installed and running?".to_owned(),
            next: vec![
                "kubectl get gatewayclasses.gateway.networking.k8s.io".to_owned(),
                look,
                "kubectl get pods -A".to_owned(),
            ],
        }
        .into();
    }
    if let Some(refused) = answer.filter(|c| text(c, "/status") == "False") {
        return Break {
            says: format!("gateway {gateway} is refused by its controller"),
            read: says(refused),
            expected: "Accepted True".to_owned(),
            next: vec![format!(
                "kubectl describe {GATEWAYS} {} -n {}",
                gateway.name, gateway.namespace
            )],
        }
        .into();
    }
    State::holds(format!("gateway {gateway}, by {}", System::of_gateway(controller)))
}

/// No other route takes the same requests.
pub(super) fn conflict(facts: &Facts) -> State {
    let (routes, _) = facts.found();
    let backends = facts.backends();
    for kind in facts.kinds() {
        let all: Vec<&Value> = kind.all.iter().flatten().collect();
        let own = routes.iter().filter(|r| r.provider.kind() == kind.provider.kind());
        let mut conflicts = own.flat_map(|r| kind.provider.conflicts(r.object, &all, &backends));
        if let Some(conflict) = conflicts.next() {
            return taken(kind.provider, conflict.to_string(), "one route for a host and path");
        }
        let elsewhere = all.iter().filter(|r| namespace(r) != facts.namespace());
        let mut refused = elsewhere.flat_map(|r| kind.provider.refusals(r, &backends));
        if let Some(refused) = refused.next() {
            return taken(
                kind.provider,
                refused.to_string(),
                "routes of the service's own namespace",
            );
        }
    }
    let ours = |k: &&RoutesOfKind| routes.iter().any(|r| r.provider.kind() == k.provider.kind());
    let hidden: Vec<_> = facts.kinds().filter(ours).filter(|k| !k.everywhere).collect();
    if !hidden.is_empty() {
        let can_i =
            |k: &&RoutesOfKind| format!("kubectl auth can-i list {} -A", k.provider.kind().crd());
        return Blind {
            says: "routes of other namespaces can't be read, and one may take the requests"
                .to_owned(),
            denied: true,
            next: hidden.iter().map(can_i).collect(),
        }
        .into();
    }
    State::holds("no other route takes the same requests")
}

fn taken(provider: &dyn TrafficProvider, read: String, expected: &str) -> State {
    Break {
        says: "another route takes the same requests, or some of them".to_owned(),
        read,
        expected: expected.to_owned(),
        next: vec![format!("kubectl get {} -A", provider.kind().crd())],
    }
    .into()
}

/// The system has taken the routes as they are now.
pub(super) fn acceptance(facts: &Facts) -> State {
    let (routes, _) = facts.found();
    for route in &routes {
        let answer = route.provider.answer(route.object);
        if let Some(refused) = answer.refused {
            return Break {
                says: format!("{} is not accepted as it is now", route.called()),
                expected: expected_answer(&refused).to_owned(),
                read: refused,
                next: accept_next(facts, route),
            }
            .into();
        }
    }
    if routes.is_empty() {
        return State::unknown("no route was found, so nobody can accept it");
    }
    State::holds("the traffic system has accepted the route as it is now")
}

fn expected_answer(refused: &str) -> &'static str {
    if refused.contains("NotAllowedByListeners") {
        "a listener of the gateway whose allowedRoutes let this namespace in"
    } else if refused.contains("NoMatchingListenerHostname") {
        "a listener of the gateway whose hostname goes with the route's"
    } else if refused.contains("BackendNotFound") {
        "services that exist"
    } else if refused.contains("RefNotPermitted") {
        "a ReferenceGrant where the service is, or a service of the route's own namespace"
    } else if refused.contains("no answer") {
        "an answer to the route as it is now, within a second or two"
    } else {
        "Accepted and ResolvedRefs, both True"
    }
}

fn accept_next(facts: &Facts, route: &Route) -> Vec<String> {
    let mut next = vec![look_at_status(route)];
    for parent in route.parents() {
        match parent {
            Parent::Gateway(gateway) => next.push(format!(
                "kubectl get {GATEWAYS} {} -n {} -o jsonpath='{{.spec.listeners}}'",
                gateway.name, gateway.namespace
            )),
            Parent::Service { controller, .. } => {
                next.extend(super::mesh::commands(facts, controller.as_deref()));
            }
            Parent::Of(system) => next.extend(super::mesh::own(facts, &system)),
        }
    }
    next
}

/// The routes give the canary what the run means it to have.
pub(super) fn shares(facts: &Facts) -> State {
    let (routes, _) = facts.found();
    let intended = facts.intended();
    let backends = facts.backends();
    let annotation = backends.annotation();
    let read = |route: &Route| {
        let stored = route.provider.stored(route.object, &backends);
        // What the system says of it is the link before this one.
        Observed { stored: stored.shape, accepted: true, trouble: stored.trouble }
    };
    let mut next = vec![];
    if let Some(route) = routes.first() {
        next.push(format!(
            "kubectl get {} {} -n {} -o jsonpath='{{.metadata.annotations}}{{\"\\n\"}}{{.spec.{}}}'",
            route.provider.kind().crd(),
            name(route.object),
            namespace(route.object),
            route.provider.kind().rules
        ));
    }
    let name_of_policy = facts.split_policy_name();
    let policy = match &facts.split_policy {
        Ok(true) => format!("; the policy {name_of_policy} is installed"),
        Ok(false) => format!(
            "; the policy {name_of_policy} is not installed, so an owner's write undoes the split"
        ),
        Err(_) => String::new(),
    };
    if facts.split_policy != Ok(true) {
        next.push(
            "kubectl get mutatingadmissionpolicies,mutatingadmissionpolicybindings".to_owned(),
        );
    }
    let Some(seen) = Observed::together(routes.iter().map(read)) else {
        return State::unknown("no route was found, so nothing has a share");
    };
    let expected =
        format!("the annotation {annotation}: \"{intended}\", and backends in that proportion");
    if let Some(trouble) = seen.trouble {
        return Break {
            says: format!("the route's backends are not what its annotation says: the canary is to get {intended} %"),
            read: format!("{trouble}{policy}"),
            expected,
            next,
        }
        .into();
    }
    let Some(shape) = seen.stored else {
        if facts.nothing_is_meant() {
            return State::holds("not split yet, and nothing is to go to the canary in this step");
        }
        return Break {
            says: "the route is not split, so all requests go to stable".to_owned(),
            read: format!("no annotation {annotation}{policy}"),
            expected,
            next,
        }
        .into();
    };
    if shape.weight.percent() != intended {
        return Break {
            says: format!(
                "the run means {intended} % for the canary, and the route says {}",
                shape.weight
            ),
            read: format!("the shares in the route{policy}"),
            expected,
            next,
        }
        .into();
    }
    if let Some(lost) = lost(&shape, facts) {
        return Break {
            says: "the route does not tell apart what the run means it to".to_owned(),
            read: format!("{shape} for the canary{policy}"),
            expected: lost,
            next,
        }
        .into();
    }
    State::holds(told(&shape, facts))
}

/// Requests of testers, or copies, that the run means and the route doesn't have.
fn lost(shape: &Shape, facts: &Facts) -> Option<String> {
    let traffic = facts.canary.status.as_ref()?.traffic.as_ref()?;
    let matches: Vec<String> = shape.matches.iter().map(ToString::to_string).collect();
    if let Some(tester) = traffic.matches.iter().find(|m| !matches.contains(m)) {
        return Some(format!("requests with {tester} for the canary, too"));
    }
    let mirrored = shape.mirror.map(Weight::percent);
    let copies = traffic.mirrored.filter(|_| mirrored != traffic.mirrored)?;
    Some(format!("a copy of {copies} % of the requests for the canary, too"))
}

fn told(shape: &Shape, facts: &Facts) -> String {
    let step = facts.canary.status.as_ref().and_then(|s| s.step.clone());
    let step = step.map(|step| format!(", as step {} wants", step.replace('/', " of ")));
    let step = step.unwrap_or_default();
    let nothing = if shape.is_nothing() { ": no request is to arrive yet" } else { "" };
    format!("{shape} for the canary{step}{nothing}")
}

/// A request as a client sends it: to see what comes back.
pub(super) fn client_command(facts: &Facts) -> Vec<String> {
    let (routes, _) = facts.found();
    let mut next = vec![];
    for route in &routes {
        let host =
            super::object::list(route.object, "/spec/hostnames").first().and_then(Value::as_str);
        for parent in route.parents() {
            let Parent::Gateway(gateway) = parent else { continue };
            next.push(format!(
                "kubectl get {GATEWAYS} {} -n {} -o wide",
                gateway.name, gateway.namespace
            ));
            let host = host.map(|h| format!(" -H 'Host: {h}'")).unwrap_or_default();
            next.push(format!("curl -si{host} http://ADDRESS/"));
        }
    }
    if next.is_empty() {
        let service = facts.service_name();
        next.push(format!("kubectl get service {service} -n {}", facts.namespace()));
    }
    next.dedup();
    next
}
