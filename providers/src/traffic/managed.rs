use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Backends, RouteKind, TrafficProvider};

/// The route that is made where there is none. It has no owner that it would go with: taking it away would be an outage.
///
/// At rest it names the user's own Service alone, so it works without Tidegate, and is split as a user's own would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    pub name: String,
    pub backends: Backends,
    pub port: u16,
    pub gateways: Vec<GatewayRef>,
    /// Requests of a mesh's clients to the Service are meant as well.
    pub mesh: bool,
    /// Empty: every host of the Gateways' listeners.
    pub hosts: Vec<String>,
    /// They say whose it is.
    pub labels: BTreeMap<String, String>,
}

/// A Gateway as a route names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRef {
    pub name: String,
    /// `None`: the route's.
    pub namespace: Option<String>,
    /// A listener; `None`: all of them.
    pub section_name: Option<String>,
}

impl Managed {
    /// It was made for this canary. One that wasn't is never written over.
    pub fn owns(&self, live: &Value) -> bool {
        let stored = live.pointer("/metadata/labels").and_then(Value::as_object);
        let labelled = |(key, value): (&String, &String)| {
            stored.and_then(|labels| labels.get(key)).and_then(Value::as_str) == Some(value)
        };
        self.labels.iter().all(labelled)
    }

    /// Nothing has to be applied: apart from a split, it is as `wanted`, which [`TrafficProvider::managed`] has made of this.
    pub fn is_current(&self, provider: &dyn TrafficProvider, wanted: &Value, live: &Value) -> bool {
        let released = provider.render(live, &self.backends, None);
        self.owns(live) && released["spec"] == wanted["spec"]
    }

    /// The object around a `spec`.
    pub(super) fn object(&self, kind: &RouteKind, spec: &Value) -> Value {
        json!({
            "apiVersion": format!("{}/{}", kind.group, kind.version),
            "kind": kind.kind,
            "metadata": {
                "name": self.name,
                "namespace": self.backends.namespace,
                "labels": self.labels,
            },
            "spec": spec,
        })
    }
}
