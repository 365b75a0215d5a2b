use std::future::Future;

use axum::Router;
use axum::routing::get;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tokio::net::TcpListener;

use super::*;

#[track_caller]
fn check(method: &Method, path: &str, verb: &str, resource: &str) {
    let uri: Uri = path.parse().unwrap();
    let got = Kind::of(method, &uri);
    assert_eq!((got.verb, got.resource), (verb, resource), "{method} {path}");
}

#[test]
fn requests_are_told_apart_by_verb_and_resource() {
    let (get, post, put) = (&Method::GET, &Method::POST, &Method::PUT);
    let (patch, delete) = (&Method::PATCH, &Method::DELETE);
    check(patch, "/apis/apps/v1/namespaces/x/deployments/y", "patch", "deployments");
    check(
        patch,
        "/apis/apps/v1/namespaces/x/deployments/y?fieldManager=tidegate",
        "patch",
        "deployments",
    );
    check(get, "/apis/apps/v1/namespaces/x/deployments/y", "get", "deployments");
    check(get, "/apis/apps/v1/namespaces/x/deployments", "list", "deployments");
    check(get, "/apis/apps/v1/deployments?limit=500", "list", "deployments");
    check(get, "/api/v1/pods?watch=1", "watch", "pods");
    check(get, "/api/v1/pods?&watch=true&timeoutSeconds=290", "watch", "pods");
    check(get, "/api/v1/namespaces/x/pods?watch=false", "list", "pods");
    check(post, "/apis/events.k8s.io/v1/namespaces/x/events?", "create", "events");
    check(delete, "/apis/apps/v1/namespaces/x/replicasets/y", "delete", "replicasets");
    check(delete, "/apis/apps/v1/namespaces/x/replicasets", "deletecollection", "replicasets");
    check(
        put,
        "/apis/tidegate.dev/v1alpha1/namespaces/x/canaries/y/status",
        "update",
        "canaries/status",
    );
    check(patch, "/apis/apps/v1/namespaces/x/replicasets/y/scale", "patch", "replicasets/scale");
    check(get, "/apis/gateway.networking.k8s.io/v1/gatewayclasses/y", "get", "gatewayclasses");
    // An object named as a resource is.
    check(get, "/api/v1/namespaces/pods/services/status", "get", "services");
}

#[test]
fn what_is_not_known_is_other() {
    let get = &Method::GET;
    check(get, "/", "get", "other");
    check(get, "/version", "get", "other");
    check(get, "/apis/apps/v1", "get", "other");
    check(get, "/api/v1/namespaces/x", "get", "other");
    check(get, "/apis/apps/v1/namespaces/x/statefulsets/y", "get", "other");
    check(get, "/api/v1/namespaces/x/pods/y/log", "get", "other");
    check(get, "/apis/apps/v1/namespaces/x/deployments/y/a/b", "get", "other");
    check(&Method::OPTIONS, "/api/v1/pods", "other", "pods");
}

/// A client of an API server that answers each list of pods with `code`.
async fn client_of(code: u16) -> (kube::Client, Arc<Metrics>, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#;
    let pods = move || async move { (http::StatusCode::from_u16(code).unwrap(), body) };
    let router = Router::new().route("/api/v1/namespaces/{namespace}/pods", get(pods));
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let mut config = kube::Config::new(url.parse().unwrap());
    config.default_retry = false;
    let metrics = Arc::new(Metrics::new());
    let client = super::super::client(config, &metrics).await.unwrap();
    let stop = async move {
        server.abort();
        let _ = server.await; // it was told to end
    };
    (client, metrics, stop)
}

#[tokio::test]
async fn a_client_counts_what_it_asks() {
    let (client, metrics, stop) = client_of(200).await;
    let pods: Api<Pod> = Api::namespaced(client, "shop");
    for _ in 0..2 {
        pods.list(&ListParams::default()).await.unwrap();
    }
    let text = metrics.encode();
    for line in [
        r#"tidegate_api_requests_total{verb="list",resource="pods",code="200"} 2"#,
        r#"tidegate_api_request_duration_seconds_count{verb="list",resource="pods"} 2"#,
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("shop"), "{text}");
    stop.await;
}

#[tokio::test]
async fn a_refusal_counts_with_its_code_and_silence_with_none() {
    let (client, metrics, stop) = client_of(409).await;
    let pods: Api<Pod> = Api::namespaced(client, "shop");
    pods.list(&ListParams::default()).await.unwrap_err();
    pods.get("web").await.unwrap_err();
    let text = metrics.encode();
    for code in [
        r#"verb="list",resource="pods",code="409"} 1"#,
        r#"verb="get",resource="pods",code="404"} 1"#,
    ] {
        assert!(text.contains(code), "no {code} in\n{text}");
    }
    stop.await;
    let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let silent = super::super::client(nowhere, &metrics).await.unwrap();
    Api::<Pod>::namespaced(silent, "shop").get("web").await.unwrap_err();
    let unanswered = r#"tidegate_api_requests_total{verb="get",resource="pods",code="none"} 1"#;
    assert!(metrics.encode().contains(unanswered), "{}", metrics.encode());
}
