//! The table of controllers.

use super::*;

/// What is known of a controller that writes the status of routes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Controller {
    /// What we call it.
    pub(super) system: String,
    pub(super) parents: BTreeSet<ParentKind>,
    /// What shows that it is here before any route has a status: a label, an annotation, a definition or a class, and on what.
    pub(super) presence: BTreeMap<String, String>,
    /// All conditions that it writes have an `observedGeneration`.
    pub(super) tells_generation: bool,
    /// The types of conditions that it writes into a route's status.
    pub(super) conditions: BTreeSet<String>,
    /// Where what its proxies are told can be read; absent: nowhere in the API server.
    pub(super) programme: Option<String>,
    /// What becomes of several routes with one parent; absent: nobody has looked.
    pub(super) several_routes: Option<Several>,
    /// `GatewayClass.status.supportedFeatures` is written.
    pub(super) tells_features: bool,
    pub(super) matching: BTreeSet<Matches>,
    pub(super) mirroring: Mirror,
    /// Filters of a rule, then of a backend.
    pub(super) filters: BTreeMap<String, Filter>,
    pub(super) backend_filters: BTreeMap<String, Filter>,
    /// What else to know before writing a route for it.
    pub(super) limits: Vec<String>,
    pub(super) cites: Vec<Cite>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum ParentKind {
    Gateway,
    Service,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Several {
    /// Their rules become one list: the more specific match first, then the older route.
    Merged,
    /// The older route has the requests, and the younger is refused, or a part of it.
    OldestWins,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Matches {
    Header,
    HeaderRegex,
    Query,
    QueryRegex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Filter {
    Supported,
    /// A condition says so.
    Refused,
    /// The status stays as if it were done.
    SilentlyDropped,
    /// Requests to this backend are answered with an error, and the status stays as if it were done.
    SilentlyFailing,
}

pub(super) fn controllers() -> BTreeMap<String, Controller> {
    yaml(&fs::read_to_string(root().join("controllers.yaml")).unwrap()).unwrap()
}
