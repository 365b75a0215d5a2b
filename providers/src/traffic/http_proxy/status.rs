//! What Contour says about a proxy.

use serde::Deserialize;
use serde_json::Value;

use crate::traffic::{Answer, object};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
    observed_generation: Option<i64>,
    #[serde(default)]
    errors: Vec<Said>,
    #[serde(default)]
    warnings: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    r#type: String,
    reason: String,
    message: String,
}

impl Condition {
    fn refusal(&self) -> Option<String> {
        if self.status == "True" {
            return None;
        }
        if self.errors.iter().any(|error| error.r#type == "Orphaned") {
            return Some(
                "no proxy with a host includes it, so it gets no request; name it in spec.includes of one, or give it spec.virtualhost.fqdn"
                    .into(),
            );
        }
        let errors = sentences(&self.errors);
        let Self { status, message, .. } = self;
        Some(if errors.is_empty() { format!("Valid {status}: {message}") } else { errors })
    }
}

fn sentences(all: &[Said]) -> String {
    let all: Vec<_> = all.iter().map(|s| format!("{}: {}", s.reason, s.message)).collect();
    all.join("; ")
}

pub(super) fn read(proxy: &Value) -> Answer {
    let label = object::label(proxy);
    let sentence = |says: String| format!("{label}: {says}");
    let generation = proxy.pointer("/metadata/generation").and_then(Value::as_i64);
    let generation = generation.unwrap_or_default();
    let conditions = object::list(proxy, "/status/conditions").iter();
    let valid = conditions
        .filter_map(|c| Condition::deserialize(c).ok())
        .find(|condition| condition.r#type == "Valid");
    let refused = match &valid {
        None => Some("no answer yet; is Contour running, and is spec.ingressClassName its?".into()),
        Some(valid) if valid.observed_generation.is_none_or(|seen| seen < generation) => {
            Some(format!("no answer yet to generation {generation}"))
        }
        Some(valid) => valid.refusal(),
    };
    let warnings = valid.map(|valid| sentences(&valid.warnings)).filter(|w| !w.is_empty());
    Answer { refused: refused.map(sentence), complaint: warnings.map(sentence) }
}
