//! What the traffic system says about a route: its own status, taken at its word only as far as it goes.

use serde::Deserialize;
use serde_json::Value;

use super::refs::{self, Parent};
use crate::traffic::{Answer, System};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    observed_generation: Option<i64>,
}

impl Condition {
    fn says(&self) -> String {
        let Self { r#type, status, reason, message, .. } = self;
        let colon = if message.is_empty() { "" } else { ": " };
        format!("{type} {status} {reason}{colon}{message}")
    }
}

/// What one controller says about one parent.
struct Entry {
    system: System,
    conditions: Vec<Condition>,
}

impl Entry {
    fn condition(&self, r#type: &str) -> Option<&Condition> {
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
        self.condition("PartiallyInvalid").filter(|c| c.status == "True").map(Condition::says)
    }

    /// Envoy Gateway's word for a Service without ready endpoints, which others leave out.
    fn complaint(&self) -> Option<String> {
        self.condition("BackendsAvailable").filter(|c| c.status == "False").map(Condition::says)
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
    let entries = entries(route, parent);
    let generation = generation(route);
    let mut current = entries.iter().filter(|e| e.current(generation)).peekable();
    if entries.is_empty() {
        Some(
            "no answer yet; is its controller running, and does a listener allow this route?"
                .into(),
        )
    } else if current.peek().is_none() {
        Some(format!("no answer yet to generation {generation}"))
    } else {
        current.find_map(Entry::refusal)
    }
}

fn complaint(route: &Value, parent: &Parent) -> Option<String> {
    let generation = generation(route);
    entries(route, parent).iter().filter(|e| e.current(generation)).find_map(Entry::complaint)
}

fn entries(route: &Value, parent: &Parent) -> Vec<Entry> {
    let about = |entry: &&Value| {
        entry.get("parentRef").and_then(|r| Parent::of(route, r)).as_ref() == Some(parent)
    };
    let read = |entry: &Value| Entry {
        system: System::of_gateway(
            entry.get("controllerName").and_then(Value::as_str).unwrap_or_default(),
        ),
        conditions: refs::list(entry, "/conditions")
            .iter()
            .filter_map(|c| Condition::deserialize(c).ok())
            .collect(),
    };
    refs::list(route, "/status/parents").iter().filter(about).map(read).collect()
}

/// Who has answered for this parent, if anybody has.
pub(super) fn controller(route: &Value, parent: &Parent) -> Option<String> {
    let entries = refs::list(route, "/status/parents").iter();
    let about =
        |e: &&Value| e.get("parentRef").and_then(|r| Parent::of(route, r)).as_ref() == Some(parent);
    let name = |e: &Value| e.get("controllerName").and_then(Value::as_str).map(str::to_owned);
    entries.filter(about).find_map(name)
}

fn generation(route: &Value) -> i64 {
    route.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default()
}
