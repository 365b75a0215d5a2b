use serde_json::{Map, Value, json};

use crate::traffic::{GatewayRef, Managed};

/// The `spec` of a route of ours.
pub(super) fn spec(wanted: &Managed) -> Value {
    let Managed { backends, port, gateways, mesh, hosts, .. } = wanted;
    let mut parents: Vec<_> = gateways.iter().map(parent).collect();
    if *mesh {
        parents
            .push(json!({"group": "", "kind": "Service", "name": backends.service, "port": port}));
    }
    let mut spec = json!({
        "parentRefs": parents,
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [
                {"group": "", "kind": "Service", "name": backends.service, "port": port, "weight": 1}
            ],
        }],
    });
    if !hosts.is_empty() {
        spec["hostnames"] = json!(hosts);
    }
    spec
}

fn parent(gateway: &GatewayRef) -> Value {
    let mut parent = Map::new();
    let fields = [
        ("group", Some("gateway.networking.k8s.io")),
        ("kind", Some("Gateway")),
        ("namespace", gateway.namespace.as_deref()),
        ("name", Some(gateway.name.as_str())),
        ("sectionName", gateway.section_name.as_deref()),
    ];
    for (field, value) in fields {
        if let Some(value) = value {
            parent.insert(field.to_owned(), json!(value));
        }
    }
    Value::Object(parent)
}
