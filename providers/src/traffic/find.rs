use serde_json::Value;

use super::{Backends, Parent, TrafficProvider, annotations, object};

/// The routes of one kind that a Service gets its requests by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// All of them are split together, in the order in which they were given. One that is split stays here whatever has become of it,
    /// so that it can be released.
    pub routes: Vec<Route>,
    /// What keeps a run from starting: a part of the Service's requests could not be split.
    pub refused: Vec<Refused>,
}

/// A route that is, or can be, split for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    /// Who programs it, each once.
    pub parents: Vec<Parent>,
}

/// A place in a route that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{route}, {field}: {why}")]
pub struct Refused {
    pub route: String,
    pub field: String,
    pub why: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "service {service} is one of {backends} backends, and only one that is alone can be split; give it a rule of its own"
    )]
    Shared { service: String, backends: usize },
    #[error(
        "{weight} is too large to be split (at most {largest}); it is the only backend, so 1 means the same"
    )]
    Heavy { weight: u64, largest: u64 },
    #[error(
        "{canary} is named by hand, and Tidegate adds it when a run starts; name only {service}"
    )]
    ByHand { service: String, canary: String },
    #[error(
        "service {service} is named from another namespace, where its canary can't be; move the route to namespace {namespace}"
    )]
    Elsewhere { service: String, namespace: String },
    #[error("no parent is a Gateway or a Service, so there is nobody to split; name one")]
    NoParent,
    /// What only one kind of route has.
    #[error("{0}")]
    Other(String),
}

/// The routes of this kind that name the Service, of all that are handed in. Those of other namespaces, if there are any among them,
/// are only ever refused.
pub fn find<'a>(
    provider: &dyn TrafficProvider,
    routes: impl IntoIterator<Item = &'a Value>,
    backends: &Backends,
) -> Found {
    let mut found = Found::default();
    for route in routes {
        let refused = provider.refusals(route, backends);
        let held = annotations::held(route, backends);
        let home = object::namespace(route) == backends.namespace;
        if home && (held || (refused.is_empty() && provider.can_split(route, backends))) {
            let (name, parents) = (object::name(route).to_owned(), provider.parents(route));
            found.routes.push(Route { name, parents });
        }
        found.refused.extend(refused);
    }
    found
}
