use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{refs, split};
use crate::traffic::Backends;

/// The route that is made where there is none; it goes with its owner.
///
/// At rest it names the user's own Service alone, so it works without Tidegate, and is split as a user's own would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    pub name: String,
    pub backends: Backends,
    pub port: u16,
    pub gateways: Vec<GatewayRef>,
    /// Empty: every host of the Gateways' listeners.
    pub hosts: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Its entry in `metadata.ownerReferences`, with the owner's `uid`.
    pub owner: Value,
}

/// A Gateway as `spec.parentRefs` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRef {
    pub name: String,
    /// `None`: the route's.
    pub namespace: Option<String>,
    /// A listener; `None`: all of them.
    pub section_name: Option<String>,
}

impl Managed {
    /// The route at rest, to be applied where it is missing or not [current](Self::is_current). During a run, what
    /// [`render`](crate::traffic::TrafficProvider::render) makes of it.
    ///
    /// All defaults are spelt out, so that it can be compared with what is stored.
    pub fn object(&self) -> Value {
        let Self { name, backends, port, gateways, hosts, labels, owner } = self;
        let parents: Vec<_> = gateways.iter().map(GatewayRef::object).collect();
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
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {
                "name": name,
                "namespace": backends.namespace,
                "labels": labels,
                "ownerReferences": [owner],
            },
            "spec": spec,
        })
    }

    /// It was made for this owner. One that wasn't is never written over.
    pub fn owns(&self, live: &Value) -> bool {
        let uid = self.owner.get("uid").filter(|uid| uid.is_string());
        let owners = refs::list(live, "/metadata/ownerReferences");
        uid.is_some() && owners.iter().any(|owner| owner.get("uid") == uid)
    }

    /// Nothing has to be applied: apart from a split, it is as it should be.
    pub fn is_current(&self, live: &Value) -> bool {
        let wanted = self.object();
        let released = split::render(live, &self.backends, None);
        let stored = live.pointer("/metadata/labels").and_then(Value::as_object);
        let labelled = |(key, value): (&String, &String)| {
            stored.and_then(|labels| labels.get(key)).and_then(Value::as_str) == Some(value)
        };
        self.owns(live) && released["spec"] == wanted["spec"] && self.labels.iter().all(labelled)
    }
}

impl GatewayRef {
    fn object(&self) -> Value {
        let mut parent = Map::new();
        let fields = [
            ("group", Some("gateway.networking.k8s.io")),
            ("kind", Some("Gateway")),
            ("namespace", self.namespace.as_deref()),
            ("name", Some(self.name.as_str())),
            ("sectionName", self.section_name.as_deref()),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                parent.insert(field.to_owned(), json!(value));
            }
        }
        Value::Object(parent)
    }
}
