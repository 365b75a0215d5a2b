//! What the traffic system says about a route: its own status, taken at its word only as far as it goes.

use serde::Deserialize;
use serde_json::Value;

use super::refs::{self, Parent};
use crate::traffic::{Answer, System};

/// Of a parent's entry, or of any other object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    r#type: String,
    pub(super) status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    pub(super) message: String,
    observed_generation: Option<i64>,
}

impl Condition {
    /// The one of this type among the `conditions` of a status.
    pub(super) fn of(status: &Value, r#type: &str) -> Option<Self> {
        conditions(status).into_iter().find(|c| c.r#type == r#type)
    }

    pub(super) fn says(&self) -> String {
        let Self { r#type, status, reason, message, .. } = self;
        let colon = if message.is_empty() { "" } else { ": " };
        format!("{type} {status} {reason}{colon}{message}")
    }
}

fn conditions(status: &Value) -> Vec<Condition> {
    let all = refs::list(status, "/conditions").iter();
    all.filter_map(|c| Condition::deserialize(c).ok()).collect()
}

/// What one controller says about one parent.
pub(super) struct Entry {
    pub(super) system: System,
    controller: String,
    conditions: Vec<Condition>,
}

impl Entry {
    pub(super) fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.r#type == r#type)
    }

    /// It is about the route as it is now. A condition without a generation counts only from those who never give one.
    fn current(&self, generation: i64) -> bool {
        NEEDED.iter().filter_map(|t| self.condition(t)).all(|c| match c.observed_generation {
            Some(observed) => observed >= generation,
            None => !self.system.tells_generation(),
        })
    }

    fn refusal(&self) -> Option<String> {
        for needed in NEEDED {
            match self.condition(needed) {
                None => return Some(format!("condition {needed} is not there yet")),
                Some(c) if c.status != "True" => return Some(c.says()),
                Some(_) => {}
            }
        }
        let partly = self.condition("PartiallyInvalid").filter(|c| c.status == "True");
        // Contour's own words for a part that it leaves out, beside an Accepted that is True.
        let part = |r#type| self.condition(r#type).filter(|c| c.status == "False");
        partly
            .or_else(|| part("ValidMatches"))
            .or_else(|| part("ValidBackendRefs"))
            .map(Condition::says)
    }

    /// Envoy Gateway's word for a Service without ready endpoints, which others leave out, and NGINX's for fields that it ignores.
    fn complaint(&self) -> Option<String> {
        let ignores = |c: &&Condition| c.status == "True" && c.reason == "UnsupportedField";
        self.condition("BackendsAvailable")
            .filter(|c| c.status == "False")
            .or_else(|| self.condition("Accepted").filter(ignores))
            .map(Condition::says)
    }
}

/// True in every answer that accepts a route.
const NEEDED: [&str; 2] = ["Accepted", "ResolvedRefs"];

/// The answers of all parents as one.
pub(super) fn read(route: &Value) -> Answer {
    let parents = refs::parents(route);
    let label = refs::label(route);
    let unread = parents.len() < refs::list(route, "/spec/parentRefs").len();
    if parents.is_empty() || unread {
        let refused = Some(format!("{label}, spec.parentRefs: none, or one that can't be read"));
        return Answer { refused, complaint: None };
    }
    let sentence = |parent: &Parent, says: String| format!("{label}, {parent}: {says}");
    let first = |says: fn(&Value, &Parent) -> Option<String>| {
        parents.iter().find_map(|p| says(route, p).map(|s| sentence(p, s)))
    };
    Answer { refused: first(refusal), complaint: first(complaint) }
}

/// Why this parent doesn't have the route as it is now.
///
/// Where several controllers speak for one parent, all that are up to date have to agree: one that was replaced leaves its last word
/// behind for ever, and what it says is about an old generation.
fn refusal(route: &Value, parent: &Parent) -> Option<String> {
    let current = current(route, parent);
    let generation = generation(route);
    if entries(route, parent).is_empty() {
        let ask = match parent.of_service() {
            Some(_) => "is a mesh's controller running that follows routes of services",
            None => "is its controller running, and does a listener allow this route",
        };
        Some(format!("no answer yet; {ask}?"))
    } else if current.is_empty() {
        Some(format!("no answer yet to generation {generation}"))
    } else {
        current.iter().find_map(Entry::refusal)
    }
}

fn complaint(route: &Value, parent: &Parent) -> Option<String> {
    current(route, parent).iter().find_map(Entry::complaint)
}

/// Everybody's word about this parent, whichever generation it is about.
fn entries(route: &Value, parent: &Parent) -> Vec<Entry> {
    let read = |entry: &Value| {
        let controller = refs::text(entry, "/controllerName").to_owned();
        let system = match parent.of_service() {
            Some(_) => System::of_service(&controller),
            None => System::of_gateway(&controller),
        };
        let about = Parent::of(route, entry.get("parentRef")?)?;
        // `upstream/nginx/port-left-out.yaml`: it writes the reference anew, without the port.
        let same = about == *parent
            || (system == System::NginxGatewayFabric && about == parent.without_port());
        same.then(|| Entry { system, controller, conditions: conditions(entry) })
    };
    refs::list(route, "/status/parents").iter().filter_map(read).collect()
}

/// What counts of it: what is about the route as it is now.
pub(super) fn current(route: &Value, parent: &Parent) -> Vec<Entry> {
    let generation = generation(route);
    entries(route, parent).into_iter().filter(|e| e.current(generation)).collect()
}

/// Who has answered for this parent, if anybody has: whose word counts, or else whose was heard at any time.
pub(super) fn controller(route: &Value, parent: &Parent) -> Option<String> {
    let all = current(route, parent).into_iter().chain(entries(route, parent));
    all.map(|entry| entry.controller).next()
}

pub(super) fn generation(route: &Value) -> i64 {
    route.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default()
}
