use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::split;
use crate::traffic::Backends;

/// The route that is made where there is none. It has no owner that it would go with: taking it away would be an outage.
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
    /// They say whose it is.
    pub labels: BTreeMap<String, String>,
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
        let Self { name, backends, port, gateways, hosts, labels } = self;
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
            },
            "spec": spec,
        })
    }

    /// It was made for this canary. One that wasn't is never written over.
    pub fn owns(&self, live: &Value) -> bool {
        let stored = live.pointer("/metadata/labels").and_then(Value::as_object);
        let labelled = |(key, value): (&String, &String)| {
            stored.and_then(|labels| labels.get(key)).and_then(Value::as_str) == Some(value)
        };
        self.labels.iter().all(labelled)
    }

    /// Nothing has to be applied: apart from a split, it is as it should be.
    pub fn is_current(&self, live: &Value) -> bool {
        let released = split::render(live, &self.backends, None);
        self.owns(live) && released["spec"] == self.object()["spec"]
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
