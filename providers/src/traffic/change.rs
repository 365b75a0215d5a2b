//! The patch that brings a shape about, whatever the kind of route.

use rollout::Shape;
use serde_json::{Map, Value, json};

use super::{Backends, TrafficProvider, annotations, object};

/// Who turns one backend into two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// The API server, by the policies `tidegate-split`, in every write: we write annotations, and nobody can undo the split.
    Server,
    /// Ourselves: the server can't. The owner's next apply undoes it.
    Us,
}

/// A change needs the object as it was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: has no metadata.resourceVersion; a change needs the object as it was read")]
pub struct NeverRead {
    pub object: String,
}

/// The merge patch that brings this shape about, or `None` when it is there; a shape of `None` is the object as its owner wrote it.
/// It may take two writes: `None` as well as long as the second has to wait for the gateway, whose answer makes a new version.
///
/// Carries the `resourceVersion` of `live`, so that it is refused if anything has changed since.
///
/// # Errors
/// When `live` has none.
pub fn change(
    provider: &dyn TrafficProvider,
    live: &Value,
    backends: &Backends,
    shape: Option<&Shape>,
    by: SplitBy,
) -> Result<Option<Value>, NeverRead> {
    let on_the_way = shape.and_then(|shape| provider.on_the_way(live, backends, shape));
    let wanted = on_the_way.unwrap_or_else(|| provider.render(live, backends, shape));
    let traces = traces(live).filter(|_| shape.is_none());
    if wanted == *live && traces.is_none() {
        return Ok(None);
    }
    let version = live.pointer("/metadata/resourceVersion").filter(|v| v.is_string());
    let version = version.ok_or_else(|| NeverRead { object: object::label(live) })?;

    let mut metadata = Map::from_iter([("resourceVersion".to_owned(), version.clone())]);
    if wanted == *live {
        metadata.insert("managedFields".to_owned(), json!(traces));
        return Ok(Some(json!({ "metadata": metadata })));
    }
    // The first also when it says so already: any write makes the server split what isn't.
    let annotations = annotations::values(&wanted, backends).into_iter().filter(|(key, value)| {
        *key == backends.annotation() || object::annotation(live, key) != *value
    });
    metadata.insert("annotations".to_owned(), annotations.map(|(k, v)| (k, json!(v))).collect());
    let mut patch = json!({ "metadata": metadata });
    let rules = provider.kind().rules;
    match by {
        SplitBy::Server => {}
        SplitBy::Us => patch["spec"] = json!({ rules: wanted["spec"][rules] }),
    }
    Ok(Some(patch))
}

/// `managedFields` without what our own writes of the rules have left there, if they have: as long as it is there, the owner's next
/// apply without force is a conflict. A separate write, since the one that gives the rules back makes it anew.
fn traces(live: &Value) -> Option<Vec<Value>> {
    let annotations = live.pointer("/metadata/annotations").and_then(Value::as_object);
    if annotations.is_some_and(|a| a.keys().any(|key| key.starts_with(Backends::PREFIX))) {
        return None; // another canary isn't done with it
    }
    let all = object::list(live, "/metadata/managedFields");
    let ours = |entry: &&Value| {
        entry["manager"] == MANAGER
            && entry["operation"] == "Update"
            && entry.pointer("/fieldsV1/f:spec").is_some()
    };
    all.iter().find(ours)?;
    let rest: Vec<_> = all.iter().filter(|entry| !ours(entry)).cloned().collect();
    // An empty list would mean: forget everybody.
    (!rest.is_empty()).then_some(rest)
}

/// Our name as the API server keeps it beside the fields that we write.
const MANAGER: &str = "tidegate";
