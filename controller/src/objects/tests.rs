use std::path::Path;

use super::*;

fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "tidegate.dev/v1alpha1".into(),
        kind: "Canary".into(),
        name: "checkout".into(),
        uid: "0c5b3f6e".into(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn target() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "checkout",
            "namespace": "shop",
            "labels": {"app": "checkout", "tidegate.dev/canary": "checkout"},
            "annotations": {"deployment.kubernetes.io/revision": "7"},
            "resourceVersion": "1041",
        },
        "spec": {
            "replicas": 4,
            "paused": true,
            "minReadySeconds": 5,
            "progressDeadlineSeconds": 300,
            "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {
                "metadata": {
                    "labels": {"app": "checkout", "version": "2", "team": "shop"},
                    "annotations": {"prometheus.io/scrape": "true"},
                },
                "spec": {
                    "serviceAccountName": "checkout",
                    "containers": [{"name": "web", "image": "shop/checkout:2"}],
                    "fieldOfANewerServer": {"kept": true},
                },
            },
        },
        "status": {"replicas": 4},
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "checkout",
            "namespace": "shop",
            "labels": {"app": "checkout", "tidegate.dev/stable-hash": "6d4b"},
            "annotations": {"external-dns.alpha.kubernetes.io/hostname": "checkout.example.com"},
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.0.0.7",
            "clusterIPs": ["10.0.0.7"],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30100,
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "publishNotReadyAddresses": true,
            "selector": {"app": "checkout", "pod-template-hash": "6d4b"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP", "appProtocol": "http", "nodePort": 30080},
                {"name": "grpc", "port": 90, "targetPort": 9090},
            ],
        },
    })
}

/// Refreshed with `UPDATE_GOLDEN=1`.
#[track_caller]
fn golden(file: &str, got: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    let text = serde_json::to_string_pretty(got).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

#[test]
fn the_canary_runs_the_targets_template_beside_it() {
    let made = canary_deployment(&target(), &owner(), &Revision::new("7f9c4"), 2).unwrap();
    golden("canary-deployment.json", &made);
}

#[test]
fn the_canarys_service_has_the_users_ports_and_only_the_canarys_pods() {
    golden("canary-service.json", &canary_service(&service(), &owner()).unwrap());
}

#[test]
fn the_canarys_service_is_the_same_whether_or_not_the_users_is_pinned() {
    let mut unpinned = service();
    unpinned["metadata"]["labels"] = json!({"app": "checkout"});
    unpinned["spec"]["selector"] = json!({"app": "checkout"});
    assert_eq!(canary_service(&unpinned, &owner()), canary_service(&service(), &owner()));
}

#[test]
fn the_canarys_service_carries_what_a_mesh_goes_by_and_no_other_annotation() {
    let mut users = service();
    users["metadata"]["labels"]["istio.io/use-waypoint"] = json!("waypoint");
    users["metadata"]["annotations"]["config.linkerd.io/opaque-ports"] = json!("4444");
    users["metadata"]["annotations"]["retry.linkerd.io/http"] = json!("5xx");
    let made = canary_service(&users, &owner()).unwrap();
    assert_eq!(made["metadata"]["labels"]["istio.io/use-waypoint"], "waypoint");
    assert_eq!(
        made["metadata"]["annotations"],
        json!({"config.linkerd.io/opaque-ports": "4444", "retry.linkerd.io/http": "5xx"})
    );
    assert_eq!(made["spec"]["ports"][0]["appProtocol"], "http");
}

#[test]
fn selecting_by_expressions_alone_is_kept_and_narrowed() {
    let expressions = json!([{"key": "app", "operator": "In", "values": ["checkout"]}]);
    let mut target = target();
    target["spec"]["selector"] = json!({"matchExpressions": expressions});
    let made = canary_deployment(&target, &owner(), &Revision::new("7f9c4"), 1).unwrap();
    let narrowed =
        json!({"matchExpressions": expressions, "matchLabels": {"tidegate.dev/role": "canary"}});
    assert_eq!(made["spec"]["selector"], narrowed);
}

#[test]
fn a_canary_has_its_share_of_the_pods_and_at_least_one() {
    let size = |share, replicas| rollout::Weight::new(share).unwrap().canary_pods(replicas);
    assert_eq!([size(0, 4), size(10, 4), size(50, 4), size(51, 4), size(100, 4)], [1, 1, 2, 3, 4]);
    assert_eq!(size(100, 0), 1);
}

#[test]
fn what_selects_no_pods_is_refused_with_the_way_out() {
    let mut external = service();
    external["spec"]["type"] = json!("ExternalName");
    let mut without = service();
    without["spec"]["selector"] = json!({"pod-template-hash": "6d4b"});
    let mut bare = target();
    bare["spec"]["template"]["metadata"] = json!({});
    let refused = [
        canary_service(&external, &owner()).unwrap_err(),
        canary_service(&without, &owner()).unwrap_err(),
        canary_deployment(&bare, &owner(), &Revision::new("7f9c4"), 1).unwrap_err(),
    ];
    assert_eq!(
        refused.map(|e| e.to_string()),
        [
            "service checkout: spec.type: ExternalName leads out of the cluster; name another",
            "service checkout: spec.selector: none, so it has no pods to tell apart; name some",
            "deployment checkout: spec.template.metadata.labels: none, and pods need some",
        ]
    );
}
