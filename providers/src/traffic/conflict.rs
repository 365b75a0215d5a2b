use serde_json::Value;

use super::{Backends, object};

/// What makes the share of a route mean nothing, or something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Gateway API gives a tie to the older route: only some of the requests, or none, would be split.
    #[error(
        "{route}, {rule}: {other}, {other_rule} claims path {path} of {host} on {gateway} as well; give one of them another host or path, or take it out of {other}"
    )]
    Claimed {
        route: String,
        rule: String,
        other: String,
        other_rule: String,
        gateway: String,
        host: String,
        path: String,
    },
    #[error(
        "{route}, metadata.annotations[{key}]: a canary of service {theirs} splits this route, and what it calls {shared} is ours; rename one of the services"
    )]
    Split { route: String, key: String, theirs: String, shared: String },
    /// What only one kind of route has.
    #[error("{0}")]
    Other(String),
}

/// Another canary splits the route with a Service of ours. Two canaries of one Service look the same in a route: tell them apart
/// before.
pub(super) fn split_by_another(route: &Value, ours: &Backends) -> Option<Conflict> {
    let annotations = route.pointer("/metadata/annotations").and_then(Value::as_object)?;
    annotations.keys().find_map(|key| {
        let theirs = key.strip_prefix(Backends::PREFIX)?;
        let shared = if theirs == ours.canary {
            theirs
        } else if format!("{theirs}-canary") == ours.service {
            &ours.service
        } else {
            return None;
        };
        Some(Conflict::Split {
            route: object::label(route),
            key: key.clone(),
            theirs: theirs.to_owned(),
            shared: shared.to_owned(),
        })
    })
}
