use std::path::Path;

use super::*;

const SHOP: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: Canary
metadata: {name: checkout, namespace: shop}
spec:
  targetRef: {name: checkout}
  traffic: {service: {name: checkout}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout}
spec:
  replicas: 4
  selector: {matchLabels: {app: checkout}}
  template:
    metadata: {labels: {app: checkout}}
    spec: {containers: [{name: web, image: 'shop/checkout:2'}]}
---
apiVersion: v1
kind: Service
metadata: {name: checkout}
spec: {selector: {app: checkout}, ports: [{port: 80}]}
";

const ROUTE: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: public}]
  rules: [{backendRefs: [{name: checkout, port: 80}]}]
";

fn documents(text: &str) -> Vec<Document> {
    manifest::documents("f.yaml", text).into_iter().collect::<Result<_, _>>().unwrap()
}

/// Refreshed with `UPDATE_GOLDEN=1`.
#[track_caller]
fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

#[test]
fn at_rest_only_a_label_and_an_empty_service_are_there() {
    golden("render-0.yaml", &render(&documents(&format!("{SHOP}{ROUTE}")), 0).unwrap());
}

#[test]
fn a_step_has_a_pinned_service_a_sized_canary_and_a_split_route() {
    golden("render-4.yaml", &render(&documents(&format!("{SHOP}{ROUTE}")), 4).unwrap());
}

#[test]
fn a_route_is_made_where_there_is_none_and_one_is_asked_for() {
    let managed = SHOP.replace(
        "traffic: {service: {name: checkout}}",
        "traffic: {service: {name: checkout}, route: {gateways: [{name: public, namespace: infra}]}}",
    );
    golden("render-managed-3.yaml", &render(&documents(&managed), 3).unwrap());
}

#[test]
fn what_is_missing_is_named() {
    let says = |text: &str, step| render(&documents(text), step).unwrap_err().to_string();
    assert_eq!(says(ROUTE, 1), "no Canary in these files; name the file that has it");
    assert_eq!(
        says(&format!("{SHOP}{ROUTE}"), 6),
        "canary checkout has 5 steps; give --step 0 (at rest) to 5"
    );
    assert_eq!(
        says(SHOP, 1),
        "canary checkout: no route in these files names service \"checkout\", and there is no spec.traffic.route; name the file that has it"
    );
    assert_eq!(
        says(&SHOP.replace("kind: Service", "kind: ConfigMap"), 1),
        "canary checkout: its Service \"checkout\" is in none of these files; name the file that has it"
    );
}
