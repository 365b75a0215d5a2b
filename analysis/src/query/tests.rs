use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::check::Limit;

fn window(seconds: i64) -> Window {
    let end = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    Window { start: end - TimeDelta::seconds(seconds), end }
}

fn pod(name: &str, ip: &str) -> PodAddress {
    PodAddress { name: name.into(), ip: ip.into() }
}

fn canary() -> ArmContext {
    ArmContext {
        namespace: "shop".into(),
        workload: "checkout-canary".into(),
        service: "checkout-canary".into(),
        apex: "checkout".into(),
        port: "80".into(),
        protocol: Protocol::Http,
        routes: vec!["web".into(), "api.v1".into()],
        pods: vec![pod("checkout-canary-5c9d-x2x4z", "10.0.0.7")],
    }
}

fn stable() -> ArmContext {
    ArmContext {
        workload: "checkout".into(),
        service: "checkout".into(),
        pods: vec![
            pod("checkout-7f9c4-zzzzz", "fd00::5"),
            pod("checkout-7f9c4-aaaaa", "10.0.0.4"),
            pod("checkout-7f9c4-aaaaa", "10.0.0.4"),
        ],
        ..canary()
    }
}

fn custom(name: &str, query: &str) -> Metric {
    Metric {
        name: name.into(),
        kind: MetricKind::Custom { query: query.into(), variables: BTreeMap::new() },
        limit: Limit::default(),
    }
}

fn checks() -> Checks {
    let builtin = |name: &str, builtin| Metric {
        name: name.into(),
        kind: MetricKind::Builtin(builtin),
        limit: Limit::default(),
    };
    Checks {
        metrics: vec![
            builtin("success", Builtin::RequestSuccessRate),
            builtin("p99", Builtin::RequestDuration { quantile: 0.99 }),
            custom("queue", "sum(queue_depth{deployment=\"{{ workload }}\"})"),
            custom("orders", "sum(rate(orders_total[{{ interval }}]))"),
        ],
        min_requests: 50,
    }
}

#[test]
fn queries_read_as_in_the_golden_files() {
    for (profile, protocol, file) in [
        (Profile::Traefik, Protocol::Http, "traefik.promql"),
        (Profile::Traefik, Protocol::Grpc, "traefik-grpc.promql"),
        (Profile::TraefikService, Protocol::Http, "traefik-service.promql"),
        (Profile::EnvoyGateway, Protocol::Http, "envoy-gateway.promql"),
        (Profile::EnvoyGateway, Protocol::Grpc, "envoy-gateway-grpc.promql"),
        (Profile::Contour, Protocol::Http, "contour.promql"),
        (Profile::Kgateway, Protocol::Http, "kgateway.promql"),
        (Profile::Istio(Reporter::Source), Protocol::Http, "istio-sidecar.promql"),
        (Profile::Istio(Reporter::Source), Protocol::Grpc, "istio-sidecar-grpc.promql"),
        (Profile::Istio(Reporter::Waypoint), Protocol::Http, "istio-waypoint.promql"),
        (Profile::IstioProxy, Protocol::Http, "istio-proxy.promql"),
        (Profile::Linkerd, Protocol::Http, "linkerd.promql"),
        (Profile::Linkerd, Protocol::Grpc, "linkerd-grpc.promql"),
        (Profile::Cilium, Protocol::Http, "cilium.promql"),
        (Profile::Pods, Protocol::Http, "pods.promql"),
    ] {
        let arm = |arm: ArmContext| ArmContext { protocol, ..arm };
        let (canary, stable) = (arm(canary()), arm(stable()));
        let mut text = String::new();
        for query in queries(profile, &checks(), &canary, Some(&stable), window(30)).unwrap() {
            writeln!(text, "# {} {}\n{}\n", query.arm, query.subject, query.promql).unwrap();
        }
        golden(file, &text);
    }
}

/// Compares with the file in `golden/`, or writes it when `UPDATE_GOLDEN=1` is set.
#[track_caller]
fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{file} differs: look at the change, then set UPDATE_GOLDEN=1");
}

#[test]
fn without_stable_only_the_canary_is_asked() {
    let all = queries(Profile::Traefik, &checks(), &canary(), None, window(30)).unwrap();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|query| query.arm == Arm::Canary));
}

#[test]
fn a_query_that_reads_the_same_for_both_arms_is_asked_once() {
    let all = queries(Profile::Traefik, &checks(), &canary(), Some(&stable()), window(30)).unwrap();
    let arms = |name: &str| -> Vec<Arm> {
        let subject = Subject::Metric(name.into());
        all.iter().filter(|query| query.subject == subject).map(|query| query.arm).collect()
    };
    assert_eq!(arms("queue"), [Arm::Canary, Arm::Stable]);
    assert_eq!(arms("orders"), [Arm::Canary]);
}

#[test]
fn an_error_names_its_metric() {
    let checks = Checks { metrics: vec![custom("queue", "{{ depl }}")], min_requests: 0 };
    let error = queries(Profile::Traefik, &checks, &canary(), None, window(30)).unwrap_err();
    assert_eq!(error.to_string(), "metric `queue`: its query can't be rendered");
    assert!(error.source.to_string().contains("unknown name `depl`"));
}

#[test]
fn a_window_is_whole_seconds_and_never_longer_than_it_is() {
    let end = window(0).end;
    let range = |ms| promql::range(Window { start: end - TimeDelta::milliseconds(ms), end });
    assert_eq!(range(29_999), "29s");
    assert_eq!(range(60_000), "60s");
    assert_eq!(range(400), "1s");
    assert_eq!(range(-5_000), "1s");
}

#[test]
fn an_arm_without_pods_matches_nothing() {
    let nobody = ArmContext { pods: Vec::new(), ..canary() };
    let all = queries(Profile::EnvoyGateway, &checks(), &nobody, None, window(30)).unwrap();
    for query in &all[..3] {
        assert!(query.promql.contains("no pods"), "{}", query.promql);
    }
}

#[test]
fn hundreds_of_pods_make_one_query() {
    let pods = (0..400).map(|n| pod(&format!("checkout-7f9c4-{n:05}"), &format!("10.0.1.{n}")));
    let many = ArmContext { pods: pods.collect(), ..stable() };
    let all = queries(Profile::EnvoyGateway, &checks(), &many, None, window(30)).unwrap();
    let longest = all.iter().map(|query| query.promql.len()).max().unwrap();
    // Sent in a form, not in the URL; Prometheus takes 10 MB of it.
    assert!(longest < 64 * 1024, "{longest}");
}
