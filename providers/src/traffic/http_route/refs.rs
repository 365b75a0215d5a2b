//! The references in a route, with the defaults of Gateway API filled in. What isn't of the right shape isn't there.

use serde::Deserialize;
use serde_json::Value;

use crate::traffic::GatewayName;
pub(super) use crate::traffic::object::{label, list, name, namespace, text};

const GROUP: &str = "gateway.networking.k8s.io";

/// One of `spec.parentRefs`, or the one that an entry of `status.parents` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    group: String,
    kind: String,
    namespace: String,
    name: String,
    section: Option<String>,
    port: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParentRef {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<u32>,
}

impl Parent {
    pub(super) fn of(route: &Value, reference: &Value) -> Option<Self> {
        let r = ParentRef::deserialize(reference).ok()?;
        Some(Self {
            group: match r.group.as_deref() {
                None => GROUP.to_owned(),
                // Linkerd's word for the group without a name.
                Some("core") => String::new(),
                Some(group) => group.to_owned(),
            },
            kind: r.kind.unwrap_or_else(|| "Gateway".to_owned()),
            namespace: r.namespace.unwrap_or_else(|| namespace(route).to_owned()),
            name: r.name,
            section: r.section_name.filter(|s| !s.is_empty()),
            port: r.port,
        })
    }

    /// `None`: it is something else than a Gateway.
    pub(super) fn gateway(&self) -> Option<GatewayName> {
        (self.group == GROUP && self.kind == "Gateway")
            .then(|| GatewayName { namespace: self.namespace.clone(), name: self.name.clone() })
    }

    /// The name of a Service of the route's own namespace: requests to it are split where they are made.
    pub(super) fn service(&self, route: &Value) -> Option<&str> {
        let (at, name) = self.of_service()?;
        (at == namespace(route)).then_some(name)
    }

    /// A Service of any namespace: its namespace and name.
    pub(super) fn of_service(&self) -> Option<(&str, &str)> {
        let service = self.group.is_empty() && self.kind == "Service";
        service.then_some((&*self.namespace, &*self.name))
    }

    pub(super) fn port(&self) -> Option<u32> {
        self.port
    }

    pub(super) fn without_port(&self) -> Self {
        Self { port: None, ..self.clone() }
    }

    /// Some listener may belong to both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        fn either<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        let whole = |p: &Self| Self { section: None, port: None, ..p.clone() };
        whole(self) == whole(other)
            && either(self.section.as_ref(), other.section.as_ref())
            && either(self.port.as_ref(), other.port.as_ref())
    }
}

impl std::fmt::Display for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.to_lowercase(), self.namespace, self.name)?;
        if let Some(section) = &self.section {
            write!(f, " section {section}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, " port {port}"))
    }
}

/// All of `spec.parentRefs` that can be read.
pub(super) fn parents(route: &Value) -> Vec<Parent> {
    list(route, "/spec/parentRefs").iter().filter_map(|p| Parent::of(route, p)).collect()
}

/// One of a rule's `backendRefs`, if it is a Service.
pub(super) struct Backend<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) weight: u64,
}

impl<'a> Backend<'a> {
    pub(super) fn of(route: &'a Value, reference: &'a Value) -> Option<Self> {
        let text = |field: &str, default: &'a str| match reference.get(field) {
            None | Some(Value::Null) => Some(default),
            Some(value) => value.as_str(),
        };
        let service = text("group", "")?.is_empty() && text("kind", "Service")? == "Service";
        service.then_some(())?;
        Some(Self {
            namespace: text("namespace", namespace(route))?,
            name: reference.get("name")?.as_str()?,
            weight: weight(reference)?,
        })
    }

    /// It is of the route's own namespace.
    pub(super) fn is_at_home(&self, route: &Value) -> bool {
        self.namespace == namespace(route)
    }
}

fn weight(reference: &Value) -> Option<u64> {
    match reference.get("weight") {
        None | Some(Value::Null) => Some(1),
        // Gateway API ends at 1,000,000: sums and products of what is read stay in range.
        Some(weight) => weight.as_u64().filter(|w| u32::try_from(*w).is_ok()),
    }
}

/// Of all backends of a rule, Services or not.
pub(super) fn weights(rule: &Value) -> impl Iterator<Item = u64> {
    list(rule, "/backendRefs").iter().filter_map(weight)
}

/// The backends of a rule that are Services.
pub(super) fn backends<'a>(
    route: &'a Value,
    rule: &'a Value,
) -> impl Iterator<Item = Backend<'a>> + Clone {
    list(rule, "/backendRefs").iter().filter_map(|b| Backend::of(route, b))
}

/// Every Service of the route's own namespace that a rule names, each once.
pub(super) fn services(route: &Value) -> Vec<String> {
    let all = rules(route).iter().flat_map(|rule| backends(route, rule));
    let mut names: Vec<_> =
        all.filter(|b| b.namespace == namespace(route)).map(|b| b.name.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn rules(route: &Value) -> &[Value] {
    list(route, "/spec/rules")
}

/// `spec.rules[1]`, and its name if it has one.
pub(super) fn rule_label(index: usize, rule: &Value) -> String {
    match rule.get("name").and_then(Value::as_str) {
        Some(name) => format!("spec.rules[{index}] ({name})"),
        None => format!("spec.rules[{index}]"),
    }
}
