use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Plane;

/// A workload as a user has it, named `name` throughout: Deployment, Service on port 80, a route per host.
#[derive(Clone, Debug)]
pub struct App {
    name: String,
    namespace: String,
    version: String,
    replicas: u32,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    fields: BTreeMap<String, Value>,
    hosts: Vec<(Plane, String)>,
}

impl App {
    /// Version 1.0 with two replicas whose pods Prometheus scrapes, and no route.
    pub fn new(name: &str, namespace: &str) -> Self {
        let scrape = [("prometheus.io/scrape", "true"), ("prometheus.io/port", "9898")];
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            version: "1.0".to_owned(),
            replicas: 2,
            labels: [("app".to_owned(), name.to_owned())].into(),
            annotations: scrape.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            fields: BTreeMap::new(),
            hosts: Vec::new(),
        }
    }

    /// Another image tag: what the pods call themselves.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// One more label of the pods, which have `app: <name>`.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The pod template's annotation `bench/<key>`: see `tests/cluster/README.md`.
    #[must_use]
    pub fn behaves(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(format!("bench/{key}"), value.to_owned());
        self
    }

    /// A field of the Deployment's spec, such as `minReadySeconds`.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// One more way to it, for requests to `host` at this gateway: an HTTPRoute named `<name>-<gateway>`, an HTTPProxy for Contour.
    /// In the mesh nothing is needed; `host` is the Service's there.
    #[must_use]
    pub fn host(mut self, plane: Plane, host: &str) -> Self {
        self.hosts.push((plane, host.to_owned()));
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn hosts(&self) -> &[(Plane, String)] {
        &self.hosts
    }

    /// Its objects, as a JSON List that kubectl applies.
    pub fn manifests(&self) -> String {
        let items: Vec<Value> =
            [self.deployment(), self.service()].into_iter().chain(self.routes()).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }

    /// The Deployment alone: for a new version of it.
    pub fn deployment(&self) -> Value {
        let mut deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(&self.name),
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": self.labels, "annotations": self.annotations},
                    "spec": {"containers": [{
                        "name": "app",
                        "image": format!("example.com/{}:{}", self.name, self.version),
                        "ports": [{"containerPort": 9898}],
                    }]},
                },
            },
        });
        for (name, value) in &self.fields {
            deployment["spec"][name] = value.clone();
        }
        deployment
    }

    /// The Service alone.
    pub fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(&self.name),
            "spec": {
                "selector": {"app": self.name},
                "ports": [{"name": "http", "port": 80, "targetPort": 9898}],
            },
        })
    }

    /// The routes, one per host.
    pub fn routes(&self) -> impl Iterator<Item = Value> {
        self.hosts.iter().filter_map(|(plane, host)| match plane {
            Plane::Contour => Some(self.proxy(host)),
            _ => plane.gateway().map(|(namespace, gateway)| self.route(namespace, gateway, host)),
        })
    }

    fn route(&self, namespace: &str, gateway: &str, host: &str) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": self.metadata(&format!("{}-{gateway}", self.name)),
            "spec": {
                "parentRefs": [{"name": gateway, "namespace": namespace}],
                "hostnames": [host],
                "rules": [{"backendRefs": [{"name": self.name, "port": 80}]}],
            },
        })
    }

    fn proxy(&self, host: &str) -> Value {
        json!({
            "apiVersion": "projectcontour.io/v1",
            "kind": "HTTPProxy",
            "metadata": self.metadata(&format!("{}-contour", self.name)),
            "spec": {
                "virtualhost": {"fqdn": host},
                "routes": [{"services": [{"name": self.name, "port": 80}]}],
            },
        })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace})
    }
}
