//! Each link breaks by what breaks it, and by nothing before it.

use serde_json::{Value, json};

use super::*;

/// With this change the first broken link is `link`, and it says so.
#[track_caller]
fn breaks(link: &str, says: &str, change: impl FnOnce(&mut Facts)) {
    let mut facts = healthy();
    change(&mut facts);
    let Some((name, broken)) = broken(&facts) else {
        panic!("nothing is broken, not even {link}: {:#?}", chain(&facts))
    };
    assert_eq!(name, link, "{broken:#?}");
    let told = format!("{}; {}; {}", broken.says, broken.read, broken.expected);
    assert!(told.contains(says), "no {says:?} in {broken:#?}");
    let first = broken.next.first().expect("a command");
    let looks = ["kubectl get ", "kubectl describe ", "curl -s"];
    assert!(looks.iter().any(|l| first.starts_with(l)), "the first command only looks: {first}");
}

/// With this change nothing is broken.
#[track_caller]
fn holds(change: impl FnOnce(&mut Facts)) {
    let mut facts = healthy();
    change(&mut facts);
    assert_eq!(broken(&facts).map(|(name, broken)| format!("{name}: {}", broken.says)), None);
}

/// With this change it can't be said whether the link holds.
#[track_caller]
fn hides(link: &str, says: &str, change: impl FnOnce(&mut Facts)) {
    let mut facts = healthy();
    change(&mut facts);
    match state(&facts, link) {
        State::Unknown(blind) => assert!(blind.says.contains(says), "{blind:?}"),
        other => panic!("{link} is known: {other:?}"),
    }
}

fn status_with(change: impl FnOnce(&mut Value)) -> api::Canary {
    let mut status = status();
    change(&mut status);
    canary(&status)
}

fn object(seen: &mut Result<Option<Value>, Blind>) -> &mut Value {
    seen.as_mut().unwrap().as_mut().unwrap()
}

#[test]
fn a_controller_that_does_not_look() {
    breaks("controller", "1 of 1 pods ready", |f| f.canary = canary(&json!({})));
    breaks("controller", "generation 2 of the spec, 1 in the status", |f| {
        f.canary = status_with(|s| s["observedGeneration"] = json!(1));
    });
    let next = |at: &str| status_with(|s| s["waitingFor"]["nextAt"] = json!(at));
    breaks("controller", "it was to look 30s ago", |f| f.canary = next("2026-11-24T03:12:15Z"));
    holds(|f| f.canary = next("2026-11-24T03:12:35Z"));
}

#[test]
fn a_deployment_that_serves_nothing() {
    breaks("deployment", "there is no deployment/checkout", |f| f.target = Ok(None));
    breaks("deployment", "no pod of deployment/checkout is ready", |f| {
        object(&mut f.target)["status"]["readyReplicas"] = json!(0);
    });
    breaks("deployment", "paused by its owner", |f| {
        object(&mut f.target)["metadata"]["labels"] = json!({});
    });
    hides("deployment", "no right", |f| f.target = denied("deployments.apps"));
}

#[test]
fn a_service_without_the_pods() {
    breaks("labels", "there is no service/checkout ", |f| f.service = Ok(None));
    breaks("labels", "asks for app=other, the pods have app=checkout", |f| {
        object(&mut f.service)["spec"]["selector"]["app"] = json!("other");
    });
    breaks("labels", "asks for tier=web, the pods have no such label", |f| {
        object(&mut f.service)["spec"]["selector"]["tier"] = json!("web");
    });
    breaks("labels", "has no selector", |f| object(&mut f.service)["spec"]["selector"] = json!({}));
    breaks("labels", "Tidegate pinned it to pod-template-hash=gone", |f| {
        object(&mut f.service)["spec"]["selector"]["pod-template-hash"] = json!("gone");
    });
    breaks("labels", "service/checkout has no address of a ready stable pod", |f| {
        f.slices = Ok(vec![slice("checkout-canary", 1)]);
    });
    hides("labels", "no right", |f| f.slices = denied("endpointslices"));
}

#[test]
fn a_route_that_is_not_there_or_can_not_be_split() {
    breaks("route", "no HTTPRoute", |f| {
        for kind in &mut f.routes {
            kind.all = Ok(vec![]);
        }
    });
    breaks("route", "does not name it any more", |f| {
        route(f)["spec"]["rules"] = json!([{"backendRefs": [{"name": "another", "port": 80}]}]);
    });
    breaks("route", "is one of 2 backends", |f| {
        let r = route(f);
        r["metadata"]["annotations"] = json!({});
        r["spec"]["rules"][0]["backendRefs"][1]["name"] = json!("another");
    });
    hides("route", "no right", |f| f.routes[0].all = denied("httproutes"));
    // A kind that isn't used may stay hidden.
    holds(|f| f.routes.last_mut().unwrap().all = denied("ingressroutes"));
}

#[test]
fn a_gateway_that_nobody_programs() {
    fn gateway(f: &mut Facts) -> &mut Gateway {
        f.gateways.values_mut().next().unwrap()
    }
    breaks("gateway", "gateway infra/web, which does not exist", |f| gateway(f).object = Ok(None));
    breaks("gateway", "spec.gatewayClassName: envoy", |f| gateway(f).class = Ok(None));
    breaks("gateway", "Accepted Unknown Pending: Waiting for controller", |f| {
        object(&mut gateway(f).object)["status"]["conditions"] = json!([{
            "type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller"}]);
    });
    breaks("gateway", "refused by its controller", |f| {
        object(&mut gateway(f).object)["status"]["conditions"][0] =
            json!({"type": "Accepted", "status": "False", "reason": "InvalidParameters"});
    });
    hides("gateway", "no right", |f| gateway(f).object = denied("gateways"));
}

#[test]
fn another_route_for_the_same_requests() {
    let theirs = |f: &mut Facts| {
        let mut other = split_route();
        other["metadata"] = json!({"name": "theirs", "namespace": "other", "uid": "o"});
        other["spec"]["rules"] = json!([{"backendRefs": [{"name": "x", "port": 80}]}]);
        let kind = f.routes.iter_mut().find(|k| k.provider.kind().kind == "HTTPRoute").unwrap();
        kind.all.as_mut().unwrap().push(other);
    };
    breaks("conflict", "route other/theirs", theirs);
    breaks("conflict", "move the route to namespace shop", |f| {
        let mut other = split_route();
        other["metadata"] = json!({"name": "theirs", "namespace": "other", "uid": "o"});
        other["spec"]["hostnames"] = json!(["another.example.com"]);
        other["spec"]["rules"] =
            json!([{"backendRefs": [{"name": "checkout", "namespace": "shop", "port": 80}]}]);
        let kind = f.routes.iter_mut().find(|k| k.provider.kind().kind == "HTTPRoute").unwrap();
        kind.all.as_mut().unwrap().push(other);
    });
    hides("conflict", "routes of other namespaces", |f| f.routes[0].everywhere = false);
}

/// The route is on the Service, and this controller has answered for it.
fn meshed(f: &mut Facts, controller: &str) {
    let parent = json!({"group": "", "kind": "Service", "name": "checkout"});
    let r = route(f);
    r["spec"]["parentRefs"] = json!([parent]);
    r["spec"].as_object_mut().unwrap().remove("hostnames");
    r["status"]["parents"][0]["controllerName"] = json!(controller);
    r["status"]["parents"][0]["parentRef"] = parent;
}

#[test]
fn a_mesh_that_looks_elsewhere() {
    breaks("gateway", "no mesh has answered", |f| {
        meshed(f, "x");
        route(f)["status"] = json!({});
    });
    // Without a word about waypoints, the clients' sidecars follow the route.
    holds(|f| meshed(f, "istio.io/gateway-controller"));
    breaks("mesh", "no label istio.io/use-waypoint", |f| {
        meshed(f, "istio.io/gateway-controller");
        let conditions = route(f).pointer_mut("/status/parents/0/conditions").unwrap();
        conditions
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "ResolvedWaypoints", "status": "True",
            "reason": "ResolvedWaypoints", "message": "All waypoints resolved"}));
    });
    let with_waypoint = |f: &mut Facts| {
        meshed(f, "istio.io/gateway-controller");
        object(&mut f.service)["metadata"]["labels"]["istio.io/use-waypoint"] = json!("wp");
    };
    holds(with_waypoint);
    breaks("mesh", "not bound to its waypoint wp", |f| {
        with_waypoint(f);
        object(&mut f.service)["status"] = json!({"conditions": [
            {"type": "istio.io/WaypointBound", "status": "False", "reason": "WaypointMissing"}]});
    });
    holds(|f| meshed(f, "linkerd.io/policy-controller"));
    breaks("mesh", "has 1 route and 0 dstOverrides", |f| {
        meshed(f, "linkerd.io/policy-controller");
        f.mesh.profile =
            Ok(Some(json!({"metadata": {"name": "p"}, "spec": {"routes": [{"name": "/"}]}})));
    });
    breaks("mesh", "Cilium does not route", |f| {
        meshed(f, "io.cilium/gateway-controller");
        object(&mut f.service)["status"] = json!({"conditions": [
            {"type": "gamma.cilium.io/GammaRoutesProgrammed", "status": "False", "reason": "Invalid"}]});
    });
    breaks("mesh", "they have no linkerd-proxy", |f| {
        f.pods.as_mut().unwrap()[0]["spec"]["initContainers"] = json!([{"name": "linkerd-proxy"}]);
    });
}

#[test]
fn no_run() {
    let ended = |reason: &str, phase: &str, ready: bool| {
        let status = status_with(|s| {
            s["phase"] = json!(phase);
            s["run"]["endedAt"] = json!("2026-11-24T03:10:00Z");
            s["waitingFor"]["reason"] = json!(reason);
            s["conditions"] = json!([{"type": "Ready", "status": if ready { "True" } else { "False" },
                "reason": reason, "message": "m", "lastTransitionTime": "2026-11-24T03:10:00Z"}]);
        });
        move |f: &mut Facts| f.canary = status
    };
    breaks("run", "its revision stays held", ended("StillHeld", "Failed", false));
    breaks("run", "none can begin", ended("NotReady", "Waiting", false));
    holds(ended("AtRest", "Idle", true));
    breaks("run", "being rolled back", |f| {
        f.canary = status_with(|s| s["phase"] = json!("RollingBack"));
    });
}

#[test]
fn canary_pods_that_are_not_ready() {
    breaks("pods", "there is no deployment/checkout-canary", |f| f.canary_deployment = Ok(None));
    breaks("pods", "no canary pod can be made", |f| {
        f.pods.as_mut().unwrap().pop();
        object(&mut f.canary_deployment)["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
    });
    let waits = |reason: &str| {
        let waiting = json!([{"name": "app", "state": {"waiting": {"reason": reason, "message": "no such tag"}}}]);
        move |f: &mut Facts| {
            let pod = canary_pod(f);
            pod["status"]["conditions"][0]["status"] = json!("False");
            pod["status"]["containerStatuses"] = waiting;
        }
    };
    breaks(
        "pods",
        "container app of the canary does not start: ImagePullBackOff",
        waits("ImagePullBackOff"),
    );
    breaks("pods", "CrashLoopBackOff", waits("CrashLoopBackOff"));
    breaks("pods", "run, and none is ready", waits("ContainerCreating"));
    breaks("pods", "finds no node", |f| {
        let conditions = json!([{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]);
        canary_pod(f)["status"]["conditions"] = conditions;
    });
}

#[test]
fn a_canary_service_that_leads_nowhere() {
    breaks("endpoints", "there is no service/checkout-canary", |f| f.canary_service = Ok(None));
    breaks("endpoints", "asks for app=x, they have checkout", |f| {
        object(&mut f.canary_service)["spec"]["selector"]["app"] = json!("x");
    });
    breaks("endpoints", "no canary pod has one of that name", |f| {
        canary_pod(f)["spec"]["containers"][0]["ports"][0]["name"] = json!("http");
        f.slices.as_mut().unwrap()[1]["ports"] = json!([]);
    });
    breaks("endpoints", "has no address of a ready canary pod", |f| {
        f.slices = Ok(vec![slice("checkout", 2)]);
    });
}

#[test]
fn a_route_that_is_refused() {
    breaks("acceptance", "a listener of the gateway whose allowedRoutes", |f| {
        route(f)["status"]["parents"][0]["conditions"][0] = json!({
            "type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "observedGeneration": 7});
    });
    breaks("acceptance", "no answer yet to generation 8", |f| {
        route(f)["metadata"]["generation"] = json!(8);
    });
}

#[test]
fn shares_that_are_not_as_they_are_meant() {
    breaks("shares", "the route is not split, so all requests go to stable", |f| {
        let r = route(f);
        r["metadata"]["annotations"] = json!({});
        r["spec"]["rules"][0]["backendRefs"] =
            json!([{"name": "checkout", "port": 80, "weight": 1}]);
    });
    breaks("shares", "the policy tidegate-split is not", |f| {
        f.split_policy = Ok(false);
        route(f)["spec"]["rules"][0]["backendRefs"] =
            json!([{"name": "checkout", "port": 80, "weight": 1}]);
    });
    breaks("shares", "requests with header x-tester=yes", |f| {
        f.canary = status_with(|s| s["traffic"]["matches"] = json!(["header x-tester=yes"]));
    });
    breaks("shares", "a copy of 10 %", |f| {
        f.canary = status_with(|s| s["traffic"]["mirrored"] = json!(10));
    });
    breaks("shares", "the run means 50 %", |f| {
        f.canary = status_with(|s| s["traffic"]["intended"] = json!(50));
    });
}

#[test]
fn a_service_that_points_at_the_wrong_revision() {
    // Without a route, at the step of weight 100.
    let switched = |hash: &'static str| {
        move |f: &mut Facts| {
            f.canary = status_with(|s| s["traffic"]["intended"] = json!(100));
            f.canary.spec.provider = Some(api::Provider::Kubernetes);
            object(&mut f.service)["spec"]["selector"]["pod-template-hash"] = json!(hash);
            for kind in &mut f.routes {
                kind.all = Ok(vec![]);
            }
        }
    };
    holds(switched("7f9c4"));
    breaks("shares", "does not point at the canary's pods", switched("6d4b8"));
}

#[test]
fn a_network_policy_that_isolates() {
    let policy = |selector: Value, ingress: Value| json!({"metadata": {"name": "np"}, "spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress}});
    let canaries = json!({"matchLabels": {"tidegate.dev/role": "canary"}});
    let some = json!([{"from": [{"namespaceSelector": {}}]}]);
    breaks("network", "lets nobody in", |f| {
        f.network_policies = Ok(vec![policy(canaries.clone(), json!([]))]);
    });
    holds(|f| f.network_policies = Ok(vec![policy(canaries.clone(), json!([{}]))]));
    // Both are behind the same rules, so it is not what keeps them apart.
    holds(|f| f.network_policies = Ok(vec![policy(json!({}), some.clone())]));
    hides("network", "only lets some peers in", |f| {
        f.network_policies = Ok(vec![policy(canaries.clone(), some.clone())]);
    });
    holds(|f| {
        let mut egress = policy(json!({}), json!([]));
        egress["spec"]["policyTypes"] = json!(["Egress"]);
        f.network_policies = Ok(vec![egress]);
    });
}

#[test]
fn metrics_that_are_not_there() {
    breaks("scrape", "does not answer", |f| {
        f.measured = Measured::Silent { url: "http://p".into(), why: "no connection".into() };
    });
    breaks("scrape", "does not scrape the Envoy proxies", |f| {
        f.measured = measured(vec![empty(RQ, false, false, &[])]);
    });
    breaks("query", "enablePerEndpointStats", |f| {
        f.measured = measured(vec![empty(RQ, true, false, &[])]);
    });
    breaks("query", "honorLabels", |f| {
        f.measured =
            measured(vec![empty(RQ, true, true, &[("envoy_endpoint_address", true, true)])]);
    });
    breaks("query", "have no label envoy_endpoint_address", |f| {
        f.measured =
            measured(vec![empty(RQ, true, true, &[("envoy_endpoint_address", false, false)])]);
    });
    breaks("query", "refuses the query for requests of canary", |f| {
        let failed = Answer::Failed("parse error".into());
        f.measured = measured(vec![asked(Subject::Requests, Arm::Canary, RQ, failed)]);
    });
}

#[test]
fn a_monitor_that_leaves_the_canary_out_is_named() {
    breaks(
        "query",
        "PodMonitor shop/stable-only selects checkout-6d4b8-a and not checkout-canary-7f9c4-x",
        |f| {
            f.measured =
                measured(vec![empty(RQ, true, true, &[("envoy_endpoint_address", true, false)])]);
            f.monitors = Ok(vec![json!({
            "kind": "PodMonitor", "metadata": {"name": "stable-only", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"pod-template-hash": "6d4b8"}}}})]);
        },
    );
}

#[test]
fn series_that_come_with_the_first_request_are_missed_only_once_there_are_requests() {
    const TRAEFIK: &str = r#"sum(increase(traefik_service_requests_total{service=~"a"}[60s]))"#;
    // Traefik has other services' series: nobody has asked for ours.
    let unasked = || empty(TRAEFIK, true, true, &[("service", true, false)]);
    breaks("requests", "nobody sends requests", |f| f.measured = measured(vec![unasked()]));
    let stable = || asked(Subject::Requests, Arm::Stable, TRAEFIK, Answer::Value(900.0));
    breaks("requests", "0 of 900 requests", |f| f.measured = measured(vec![unasked(), stable()]));
}

#[test]
fn requests_that_do_not_reach_the_canary() {
    breaks("requests", "nobody sends requests to service checkout", |f| {
        f.measured = answers(0.0, 0.0);
    });
    breaks("requests", "about 225 of them", |f| f.measured = answers(0.0, 900.0));
    hides("requests", "too early to say", |f| f.measured = answers(0.0, 12.0));
    hides("requests", "in effect for 5s", |f| {
        f.measured = answers(0.0, 900.0);
        f.now = "2026-11-24T03:09:50Z".parse().unwrap();
    });
    holds(|f| {
        f.measured = answers(0.0, 900.0);
        let r = route(f);
        r["metadata"]["annotations"]["split.tidegate.dev/checkout"] = json!("0");
        r["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(100);
        r["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(0);
        f.canary = status_with(|s| s["traffic"]["intended"] = json!(0));
    });
}

#[test]
fn what_the_controller_has_found_is_used_without_an_address() {
    let said = |reason: &str, verdict: &str| {
        let status = status_with(|s| {
            s["waitingFor"]["reason"] = json!(reason);
            s["waitingFor"]["message"] = json!("held: why");
            s["metrics"] = json!([{"name": "p99", "limit": "<= 500", "verdict": verdict, "query": RQ, "requests": 0}]);
        });
        move |f: &mut Facts| {
            f.measured = Measured::NotAsked;
            f.canary = status;
        }
    };
    breaks("scrape", "held: why", said("MetricsError", "Error"));
    breaks("query", "knows nothing about p99", said("NoData", "NoData"));
    breaks("requests", "counted no request of the canary", said("TooEarly", "TooEarly"));
    hides("scrape", "no check was made yet", |f| f.measured = Measured::NotAsked);
}

#[test]
fn a_check_that_says_nothing() {
    breaks("verdict", "too few requests", |f| {
        f.canary = status_with(|s| s["waitingFor"]["reason"] = json!("TooEarly"));
    });
    // Bad numbers are numbers.
    holds(|f| f.canary = status_with(|s| s["waitingFor"]["reason"] = json!("CheckFailed")));
    breaks("verdict", "at least two intervals of the scrapes", |f| {
        f.canary = status_with(|s| s["waitingFor"]["reason"] = json!("NoData"));
    });
}
