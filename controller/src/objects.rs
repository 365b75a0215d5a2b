//! What the controller makes beside the user's objects: the canary's Deployment, its Service, and a route where there is none.
//!
//! Plain JSON in and out: what a newer server has in a pod template must reach the canary too, or another template would be
//! judged than the one that is promoted.

use api::{
    CANARY_LABEL, Canary, PIN_LABEL, POD_TEMPLATE_HASH, REVISION_ANNOTATION, ROLE_LABEL, SUFFIX,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use providers::traffic::{Backends, GatewayRef, HttpRoute, KINDS, Managed, TrafficProvider, mesh};
use rollout::Revision;
use serde_json::{Map, Value, json};

/// The value of [`ROLE_LABEL`].
pub const ROLE: &str = "canary";
/// The prefix of our own labels, which say something about the object that they are on and aren't copied.
const OURS: &str = "tidegate.dev/";

/// An object that no canary can be made from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name}: {field}: {why}")]
pub struct Unfit {
    pub kind: &'static str,
    pub name: String,
    pub field: &'static str,
    pub why: String,
}

/// The Deployment `<target>-canary`: the target's template and the role label.
///
/// It carries none of the target's own labels, which are for those who look after the target, and no strategy: its template never
/// changes. With no old ReplicaSets to keep, it leaves nothing behind.
pub fn canary_deployment(
    target: &Value,
    owner: &OwnerReference,
    revision: &Revision,
    replicas: u32,
) -> Result<Value, Unfit> {
    let unfit = |field, why: &str| Unfit {
        kind: "deployment",
        name: name(target).to_owned(),
        field,
        why: why.to_owned(),
    };
    let spec = &target["spec"];
    let mut template = spec["template"].clone();
    let labels = labels(&mut template)
        .ok_or_else(|| unfit("spec.template.metadata.labels", "none, and pods need some"))?;
    labels.insert(ROLE_LABEL.to_owned(), json!(ROLE));
    let mut selector = spec["selector"].clone();
    selector
        .as_object_mut()
        .and_then(|s| s.entry("matchLabels").or_insert_with(|| json!({})).as_object_mut())
        .ok_or_else(|| unfit("spec.selector", "none; name the labels of its pods"))?
        .insert(ROLE_LABEL.to_owned(), json!(ROLE));

    let mut canary = json!({
        "replicas": replicas,
        "revisionHistoryLimit": 0,
        "selector": selector,
        "template": template,
    });
    copy(spec, &mut canary, &["minReadySeconds", "progressDeadlineSeconds"]);
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": format!("{}{SUFFIX}", name(target)),
            "namespace": namespace(target),
            "labels": { ROLE_LABEL: ROLE },
            "annotations": { REVISION_ANNOTATION: revision.as_str() },
            "ownerReferences": [owner],
        },
        "spec": canary,
    }))
}

/// The Service `<service>-canary`: the user's ports, and of the pods that the user's selects those with the role label.
///
/// The user's labels are kept, so that what scrapes by a Service's labels (a `ServiceMonitor`) finds the canary too, and a mesh treats it
/// as the user's. Annotations are not, but for those that a mesh or a proxy goes by: others ask for load balancers and names, of which
/// there is to be one. Neither is `publishNotReadyAddresses`: no request goes to
/// a canary that isn't ready.
pub fn canary_service(service: &Value, owner: &OwnerReference) -> Result<Value, Unfit> {
    let unfit = |field, why: &str| Unfit {
        kind: "service",
        name: name(service).to_owned(),
        field,
        why: why.to_owned(),
    };
    let spec = &service["spec"];
    if spec["type"] == "ExternalName" {
        return Err(unfit("spec.type", "ExternalName leads out of the cluster; name another"));
    }
    let mut selector = spec["selector"].as_object().cloned().unwrap_or_default();
    if label(service, PIN_LABEL).is_some() {
        selector.remove(POD_TEMPLATE_HASH);
    }
    if selector.is_empty() {
        return Err(unfit("spec.selector", "none, so it has no pods to tell apart; name some"));
    }
    selector.insert(ROLE_LABEL.to_owned(), json!(ROLE));

    let mut canary = json!({
        "type": "ClusterIP",
        "selector": selector,
        "ports": list(spec, "ports").iter().map(port).collect::<Vec<_>>(),
    });
    copy(spec, &mut canary, &["ipFamilies", "ipFamilyPolicy", "trafficDistribution"]);
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.retain(|key, _| !key.starts_with(OURS));
    labels.insert(ROLE_LABEL.to_owned(), json!(ROLE));
    let mut canary = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": format!("{}{SUFFIX}", name(service)),
            "namespace": namespace(service),
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": canary,
    });
    let annotations = service["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let carried: Map<_, _> = annotations.into_iter().filter(|(k, _)| mesh::carried(k)).collect();
    if !carried.is_empty() {
        canary["metadata"]["annotations"] = json!(carried);
    }
    Ok(canary)
}

/// The route that the canary's spec asks for, if it asks for one.
pub fn managed_route(
    canary: &Canary,
    service: &Value,
    backends: Backends,
) -> Result<Option<Managed>, Unfit> {
    let traffic = &canary.spec.traffic;
    let Some(route) = &traffic.route else { return Ok(None) };
    let only = || match list(&service["spec"], "ports") {
        [port] => port["port"].as_u64().and_then(|port| u16::try_from(port).ok()),
        _ => None,
    };
    let port = traffic.service.port.or_else(only).ok_or_else(|| Unfit {
        kind: "service",
        name: name(service).to_owned(),
        field: "spec.ports",
        why: "not exactly one, so the canary has to say which: set spec.traffic.service.port"
            .to_owned(),
    })?;
    let gateways = route.gateways.iter().map(|g| GatewayRef {
        name: g.name.clone(),
        namespace: g.namespace.clone(),
        section_name: g.section_name.clone(),
    });
    Ok(Some(Managed {
        name: backends.service.clone(),
        backends,
        port,
        gateways: gateways.collect(),
        mesh: route.mesh,
        hosts: route.hosts.clone(),
        labels: [(CANARY_LABEL.to_owned(), canary.metadata.name.clone().unwrap_or_default())]
            .into(),
    }))
}

/// The route of ours as an object: of the provider that the canary names, or else an `HTTPRoute`.
pub fn made(
    canary: &Canary,
    route: &Managed,
) -> Result<(&'static dyn TrafficProvider, Value), Unfit> {
    let named = canary.spec.provider.map(api::Provider::name);
    let of = |p: &&&'static dyn TrafficProvider| named == Some(p.kind().provider);
    let provider = KINDS.iter().find(of).copied().unwrap_or(&HttpRoute);
    let object = provider.managed(route).map_err(|why| Unfit {
        kind: "canary",
        name: canary.metadata.name.clone().unwrap_or_default(),
        field: "spec.traffic.route",
        why,
    })?;
    Ok((provider, object))
}

/// Without the port of the nodes, which one Service alone can have.
fn port(port: &Value) -> Value {
    let mut port = port.clone();
    if let Some(fields) = port.as_object_mut() {
        fields.remove("nodePort");
    }
    port
}

fn copy(from: &Value, to: &mut Value, fields: &[&str]) {
    for field in fields {
        if let Some(value) = from.get(field).filter(|v| !v.is_null()) {
            to[*field] = value.clone();
        }
    }
}

fn labels(template: &mut Value) -> Option<&mut Map<String, Value>> {
    template.get_mut("metadata")?.get_mut("labels")?.as_object_mut()
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().map_or(&[], Vec::as_slice)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn namespace(object: &Value) -> Value {
    object["metadata"]["namespace"].clone()
}

#[cfg(test)]
mod tests;
