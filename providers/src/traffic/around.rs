//! Other objects that have to be read before a system's word on a route is worth anything: its own objects, and the Service.

use serde_json::Value;

use super::object;

/// What the API server calls a kind of object that is only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

impl ObjectKind {
    pub const SERVICE: Self =
        Self { group: "", version: "v1", kind: "Service", plural: "services" };
    pub const NAMESPACE: Self =
        Self { group: "", version: "v1", kind: "Namespace", plural: "namespaces" };
    pub const HTTP_ROUTE: Self = Self {
        group: "gateway.networking.k8s.io",
        version: "v1",
        kind: "HTTPRoute",
        plural: "httproutes",
    };
    pub const GRPC_ROUTE: Self = Self {
        group: "gateway.networking.k8s.io",
        version: "v1",
        kind: "GRPCRoute",
        plural: "grpcroutes",
    };
    /// Linkerd's own.
    pub const LINKERD_ROUTE: Self = Self {
        group: "policy.linkerd.io",
        version: "v1beta3",
        kind: "HTTPRoute",
        plural: "httproutes",
    };
    /// What Cilium tells its proxies.
    pub const CILIUM_ENVOY_CONFIG: Self = Self {
        group: "cilium.io",
        version: "v2",
        kind: "CiliumEnvoyConfig",
        plural: "ciliumenvoyconfigs",
    };
    /// Linkerd's older way of routing, which wins.
    pub const SERVICE_PROFILE: Self = Self {
        group: "linkerd.io",
        version: "v1alpha2",
        kind: "ServiceProfile",
        plural: "serviceprofiles",
    };
}

/// Objects to read: one, or all of a namespace. Where the kind isn't installed there are none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub kind: ObjectKind,
    /// `None`: the kind has no namespaces.
    pub namespace: Option<String>,
    /// `None`: all of the namespace.
    pub name: Option<String>,
}

impl Wanted {
    pub(super) fn one(kind: ObjectKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: Some(namespace.to_owned()), name: Some(name.to_owned()) }
    }

    pub(super) fn all(kind: ObjectKind, namespace: &str) -> Self {
        Self { kind, namespace: Some(namespace.to_owned()), name: None }
    }

    pub(super) fn namespace(name: &str) -> Self {
        Self { kind: ObjectKind::NAMESPACE, namespace: None, name: Some(name.to_owned()) }
    }
}

/// What was read, each object with its `kind`.
#[derive(Clone, Debug, Default)]
pub struct Around(Vec<Value>);

impl Around {
    pub fn of(objects: impl IntoIterator<Item = Value>) -> Self {
        Self(objects.into_iter().collect())
    }

    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn all(&self, kind: ObjectKind) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |o| {
            let group = match object::text(o, "/apiVersion").split_once('/') {
                Some((group, _)) => group,
                None => "",
            };
            object::text(o, "/kind") == kind.kind && group == kind.group
        })
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.all(ObjectKind::SERVICE)
            .find(|o| object::namespace(o) == namespace && object::name(o) == name)
    }

    pub(super) fn namespace(&self, name: &str) -> Option<&Value> {
        self.all(ObjectKind::NAMESPACE).find(|o| object::name(o) == name)
    }
}
