use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::split;
use crate::traffic::{Backends, GatewayName};

/// The `VirtualService` that is made where there is none. It has no owner that it would go with: taking it away would be an outage.
///
/// At rest it names the user's own Service alone, so it works without Tidegate, and is split as a user's own would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedVirtualService {
    pub name: String,
    pub backends: Backends,
    /// Of the Service: the one that requests through a gateway are for.
    pub port: u16,
    /// Istio's own, `networking.istio.io`.
    pub gateways: Vec<GatewayName>,
    /// Of the requests through a gateway.
    pub hosts: Vec<String>,
    /// Also the requests of clients in the mesh to the Service, whatever its port.
    pub mesh: bool,
    /// They say whose it is.
    pub labels: BTreeMap<String, String>,
}

impl ManagedVirtualService {
    /// The object at rest, to be applied where it is missing or not [current](Self::is_current). During a run, what
    /// [`render`](crate::traffic::TrafficProvider::render) makes of it.
    pub fn object(&self) -> Value {
        let Self { name, backends, gateways, labels, .. } = self;
        let gateways: Vec<_> = gateways.iter().map(GatewayName::to_string).collect();
        let mesh = self.mesh.then(|| "mesh".to_owned());
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {
                "name": name,
                "namespace": backends.namespace,
                "labels": labels,
            },
            "spec": {
                "hosts": self.hosts(),
                "gateways": mesh.into_iter().chain(gateways).collect::<Vec<_>>(),
                "http": self.entries(),
            },
        })
    }

    fn hosts(&self) -> Vec<&str> {
        let own = self.mesh.then_some(self.backends.service.as_str());
        own.into_iter().chain(self.hosts.iter().map(String::as_str)).collect()
    }

    /// A client in the mesh has chosen the Service's port; one of a gateway has its listener's, which the Service may not have.
    fn entries(&self) -> Vec<Value> {
        let host = &self.backends.service;
        let through =
            json!({"route": [{"destination": {"host": host, "port": {"number": self.port}}}]});
        let mut inside = json!({"route": [{"destination": {"host": host}}]});
        match (self.mesh, self.gateways.is_empty()) {
            (false, _) => vec![through],
            (true, true) => vec![inside],
            (true, false) => {
                inside["match"] = json!([{"gateways": ["mesh"]}]);
                vec![inside, through]
            }
        }
    }

    /// It was made for this canary. One that wasn't is never written over.
    pub fn owns(&self, live: &Value) -> bool {
        super::destination_rule::labelled(live, &self.labels)
    }

    /// Nothing has to be applied: apart from a split, it is as it should be.
    pub fn is_current(&self, live: &Value) -> bool {
        let released = split::render(live, &self.backends, None);
        self.owns(live) && released["spec"] == self.object()["spec"]
    }
}
