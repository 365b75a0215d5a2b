//! `HTTPRoute` on a Gateway: the user's own, split for the time of a run, or one of ours where there is none.

mod conflict;
mod find;
mod managed;
mod refs;
mod split;
mod status;

use rollout::Weight;
use serde_json::{Map, Value, json};

use super::{Backends, Capabilities, Gateway, Observed, RenderError, SplitBy, TrafficProvider};

pub use conflict::{Conflict, conflicts};
pub use find::{Found, Refusal, Refused, Route, find};
pub use managed::{GatewayRef, Managed};

/// The route of a canary, on the Gateways of these kinds. None known yet: it settles like an unknown one.
///
/// | when | annotation | the rule of the Service |
/// |---|---|---|
/// | at rest | none | as its owner wrote it: `shop`, weight w (1 unless given) |
/// | a run's first step | `split.tidegate.dev/shop: "0"` | `shop` w·100, `shop-canary` 0 |
/// | at a step of c % | `"c"` | `shop` w·(100−c), `shop-canary` w·c |
/// | released, or the canary is deleted | none | as its owner wrote it |
///
/// Each is one write, and none of them makes a new object or takes a field over. Around them: the canary's Service exists before
/// the first, has ready addresses before any c above 0, and stays until after the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRoute {
    pub gateways: Vec<Gateway>,
}

impl TrafficProvider for HttpRoute {
    fn capabilities(&self) -> Capabilities {
        let unknown = || Gateway::Other(String::new()).settle();
        let mut profiles = self.gateways.iter().map(Gateway::profile);
        let first = profiles.next().flatten();
        Capabilities {
            settle: self.gateways.iter().map(Gateway::settle).max().unwrap_or_else(unknown),
            // Two kinds measure differently: neither sees all requests.
            profile: first.filter(|_| profiles.all(|p| p == first)),
        }
    }

    fn render(
        &self,
        live: &Value,
        backends: &Backends,
        share: Option<Weight>,
    ) -> Result<Value, RenderError> {
        Ok(split::render(live, backends, share))
    }

    fn change(
        &self,
        live: &Value,
        backends: &Backends,
        share: Option<Weight>,
        by: SplitBy,
    ) -> Result<Option<Value>, RenderError> {
        let wanted = split::render(live, backends, share);
        let traces = traces(live).filter(|_| share.is_none());
        if wanted == *live && traces.is_none() {
            return Ok(None);
        }
        let version = live.pointer("/metadata/resourceVersion").filter(|v| v.is_string());
        let version =
            version.ok_or_else(|| RenderError::NeverRead { object: refs::label(live) })?;

        let mut metadata = Map::from_iter([("resourceVersion".to_owned(), version.clone())]);
        if wanted == *live {
            metadata.insert("managedFields".to_owned(), json!(traces));
            return Ok(Some(json!({ "metadata": metadata })));
        }
        // Also when it says so already: any write makes the server split what isn't.
        let percent = share.map(|share| share.percent().to_string());
        metadata.insert("annotations".to_owned(), json!({ backends.annotation(): percent }));
        let mut patch = json!({ "metadata": metadata });
        match by {
            SplitBy::Server => {}
            SplitBy::Us => patch["spec"] = json!({ "rules": wanted["spec"]["rules"] }),
        }
        Ok(Some(patch))
    }

    fn read(&self, live: &Value, backends: &Backends) -> Observed {
        let split = split::read(live, backends);
        let answer = status::read(live);
        let idle = split.share == Some(Weight::ZERO);
        Observed {
            stored: split.share,
            accepted: split.trouble.is_none() && answer.refused.is_none(),
            // A canary without requests may be without pods.
            trouble: split.trouble.or(answer.refused).or(answer.complaint.filter(|_| !idle)),
        }
    }
}

/// `managedFields` without what our own writes of the rules have left there, if they have: as long as it is there, the owner's next
/// apply without force is a conflict. A separate write, since the one that gives the rules back makes it anew.
fn traces(live: &Value) -> Option<Vec<Value>> {
    let annotations = live.pointer("/metadata/annotations").and_then(Value::as_object);
    if annotations.is_some_and(|a| a.keys().any(|key| key.starts_with(Backends::PREFIX))) {
        return None; // another canary isn't done with it
    }
    let all = refs::list(live, "/metadata/managedFields");
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

#[cfg(test)]
mod tests;
