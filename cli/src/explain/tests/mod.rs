//! A world in which everything holds; each test breaks one thing in it.

mod links;
mod pages;

use std::collections::BTreeMap;

use analysis::{Arm, Query, Subject};
use chrono::{DateTime, TimeDelta, Utc};
use providers::traffic::{GatewayName, HttpRoute, KINDS, RouteKind, TrafficProvider};
use serde_json::{Value, json};

use super::chain::{answer, chain};
use super::facts::{Facts, Gateway, Mesh, RoutesOfKind};
use super::link::{Blind, Break, Link, State};
use super::measured::{Answer, Answers, Asked, Measured, Probe, Unmet};
use super::selector::Selector;

pub(super) fn now() -> DateTime<Utc> {
    "2026-11-24T03:12:45Z".parse().unwrap()
}

fn pod(name: &str, hash: &str, role: Option<&str>) -> Value {
    let mut labels = json!({"app": "checkout", "pod-template-hash": hash});
    if let Some(role) = role {
        labels["tidegate.dev/role"] = json!(role);
    }
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"tidegate.dev/canary": "checkout"}},
        "spec": {
            "replicas": replicas, "paused": true,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {"metadata": {"labels": {"app": "checkout"}}},
        },
        "status": {"readyReplicas": replicas},
    })
}

fn service(name: &str, selector: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"tidegate.dev/stable-hash": "6d4b8"}},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    })
}

fn slice(service: &str, ready: usize) -> Value {
    let endpoints = vec![json!({"conditions": {"ready": true}}); ready];
    json!({
        "metadata": {"name": format!("{service}-x"), "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
    })
}

/// At 25 % of two steps, accepted by Envoy Gateway.
pub(super) fn split_route() -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "observedGeneration": 7});
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {
            "name": "checkout", "namespace": "shop", "generation": 7, "uid": "r",
            "annotations": {"split.tidegate.dev/checkout": "25"},
        },
        "spec": {
            "parentRefs": [{"name": "web", "namespace": "infra"}],
            "hostnames": ["shop.example.com"],
            "rules": [{"backendRefs": [
                {"name": "checkout", "port": 80, "weight": 75},
                {"name": "checkout-canary", "port": 80, "weight": 25}]}],
        },
        "status": {"parents": [{
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "parentRef": {"name": "web", "namespace": "infra"},
            "conditions": [condition("Accepted"), condition("ResolvedRefs")],
        }]},
    })
}

pub(super) fn status() -> Value {
    json!({
        "observedGeneration": 2, "phase": "Progressing", "step": "1/2",
        "run": {
            "name": "checkout-7f9c4-1", "revision": "7f9c4", "startedAt": "2026-11-24T03:08:35Z",
            "step": 1, "steps": 2, "failures": 0, "threshold": 5,
        },
        "waitingFor": {
            "reason": "CheckPassed", "message": "step 1: 1 of 4 checks passed: success-rate 99.9 % (301 requests)",
            "since": "2026-11-24T03:12:35Z", "nextAt": "2026-11-24T03:12:55Z",
        },
        "traffic": {
            "intended": 25, "stored": 25, "accepted": true, "routes": ["httproute/checkout"],
            "provider": "gateway-api", "because": "", "systems": ["envoy-gateway"],
        },
        "conditions": [],
    })
}

pub(super) fn canary(status: &Value) -> api::Canary {
    serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Canary",
        "metadata": {"name": "checkout", "namespace": "shop", "generation": 2},
        "spec": {"targetRef": {"name": "checkout"}, "traffic": {"service": {"name": "checkout"}}},
        "status": status,
    }))
    .unwrap()
}

fn run() -> api::CanaryRun {
    serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "CanaryRun",
        "metadata": {"name": "checkout-7f9c4-1", "namespace": "shop"},
        "spec": {
            "canary": "checkout", "revision": "7f9c4", "stableRevision": "6d4b8", "image": "checkout:2",
            "plan": {
                "steps": [{"weight": 25, "checks": 4}, {"weight": 100}], "progressDeadline": "10m", "skipAnalysis": false,
                "analysis": {"metrics": [{"name": "success-rate", "builtin": "request-success-rate", "limit": {"min": 99}}]},
            },
        },
        "status": {"message": "", "cursor": {
            "phase": "Progressing", "stage": "Check", "step": 1, "weight": 25, "effectiveAt": "2026-11-24T03:09:45Z",
        }},
    }))
    .unwrap()
}

pub(super) const RQ: &str = r#"sum(increase(envoy_cluster_endpoint_rq_success{envoy_endpoint_address=~"(10.0.0.7):[0-9]+"}[60s]))"#;

pub(super) fn asked(subject: Subject, arm: Arm, promql: &str, answer: Answer) -> Asked {
    Asked { query: Query { subject, arm, promql: promql.to_owned() }, answer, probe: None }
}

pub(super) fn answers(canary: f64, stable: f64) -> Measured {
    measured(vec![
        asked(Subject::Requests, Arm::Canary, RQ, Answer::Value(canary)),
        asked(Subject::Requests, Arm::Stable, RQ, Answer::Value(stable)),
    ])
}

pub(super) fn measured(all: Vec<Asked>) -> Measured {
    let url = "http://localhost:9090".to_owned();
    Measured::Asked(Answers { url, window: TimeDelta::seconds(60), all })
}

/// A query that finds nothing, and what of it does.
pub(super) fn empty(
    promql: &str,
    family: bool,
    series: bool,
    unmet: &[(&str, bool, bool)],
) -> Asked {
    let selector = Selector::first(promql).unwrap();
    let unmet = unmet.iter().map(|(label, has_label, exported)| Unmet {
        matcher: selector.matchers.iter().find(|m| m.label == *label).unwrap().clone(),
        has_label: *has_label,
        exported: *exported,
    });
    let unmet = unmet.collect();
    let mut asked = asked(Subject::Requests, Arm::Canary, promql, Answer::Empty);
    asked.probe = Some(Probe { selector, family, series, unmet });
    asked
}

pub(super) fn denied<T>(what: &str) -> Result<T, Blind> {
    Err(Blind {
        says: format!("no right to list {what}"),
        denied: true,
        next: vec![format!("kubectl auth can-i list {what} -n shop")],
    })
}

/// Traffic reaches the canary.
pub(super) fn healthy() -> Facts {
    let selected = json!({"app": "checkout", "pod-template-hash": "6d4b8"});
    let canaries = json!({"app": "checkout", "tidegate.dev/role": "canary"});
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": kind});
    let gateway = Gateway {
        object: Ok(Some(json!({
            "metadata": {"name": "web", "namespace": "infra"},
            "spec": {"gatewayClassName": "envoy"},
            "status": {"conditions": [condition("Accepted"), condition("Programmed")]},
        }))),
        class: Ok(Some(
            json!({"spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}}),
        )),
    };
    let name = GatewayName { namespace: "infra".to_owned(), name: "web".to_owned() };
    let all = |kind: &RouteKind| {
        if kind == HttpRoute.kind() { vec![split_route()] } else { vec![] }
    };
    Facts {
        canary: canary(&status()),
        now: now(),
        run: Ok(Some(run())),
        controllers: Ok(vec![json!({
            "metadata": {"name": "tidegate", "namespace": "tidegate-system"},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"args": ["controller", "--metrics-server", "http://prometheus.monitoring:9090"]}]}}},
            "status": {"readyReplicas": 1},
        })]),
        target: Ok(Some(deployment("checkout", 3))),
        canary_deployment: Ok(Some(deployment("checkout-canary", 1))),
        pods: Ok(vec![
            pod("checkout-6d4b8-a", "6d4b8", None),
            pod("checkout-6d4b8-b", "6d4b8", None),
            pod("checkout-canary-7f9c4-x", "7f9c4", Some("canary")),
        ]),
        service: Ok(Some(service("checkout", &selected))),
        canary_service: Ok(Some(service("checkout-canary", &canaries))),
        slices: Ok(vec![slice("checkout", 2), slice("checkout-canary", 1)]),
        routes: KINDS
            .into_iter()
            .map(|provider| RoutesOfKind {
                provider,
                all: Ok(all(provider.kind())),
                everywhere: true,
            })
            .collect(),
        gateways: BTreeMap::from([(name, gateway)]),
        split_policy: Ok(true),
        network_policies: Ok(vec![]),
        mesh: Mesh { namespace: Ok(None), profile: Ok(None) },
        monitors: Ok(vec![]),
        measured: answers(296.0, 908.0),
    }
}

/// Its only route.
pub(super) fn route(facts: &mut Facts) -> &mut Value {
    let kind = facts.routes.iter_mut().find(|k| k.provider.kind().kind == "HTTPRoute").unwrap();
    &mut kind.all.as_mut().unwrap()[0]
}

pub(super) fn canary_pod(facts: &mut Facts) -> &mut Value {
    facts.pods.as_mut().unwrap().last_mut().unwrap()
}

/// The first broken link.
pub(super) fn broken(facts: &Facts) -> Option<(&'static str, Break)> {
    let chain = chain(facts);
    answer(&chain).map(|(i, broken)| (chain[i].name, broken.clone()))
}

pub(super) fn state(facts: &Facts, name: &str) -> State {
    chain(facts).into_iter().find(|link| link.name == name).map(|link| link.state).unwrap()
}

#[test]
fn nothing_is_broken_where_traffic_reaches_the_canary() {
    let chain = chain(&healthy());
    let doubtful: Vec<&Link> =
        chain.iter().filter(|l| !matches!(l.state, State::Holds { .. })).collect();
    assert!(doubtful.is_empty(), "{doubtful:#?}");
    let State::Holds { says } = state(&healthy(), "requests") else { panic!("no requests") };
    assert_eq!(says, "24.6 % of 1,204 requests in 1m (25 % are meant)");
}
