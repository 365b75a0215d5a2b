//! What istiod says about an object: nothing, unless its analysis is on (`PILOT_ENABLE_ANALYSIS`).

use serde_json::Value;

use super::hosts::{self, list, text};
use crate::traffic::Answer;

/// Errors refuse the object as it is, warnings complain of it. What is about an older generation, and silence, says nothing: whether
/// the proxies do as they are told, only the metrics show.
pub(super) fn read(route: &Value) -> Answer {
    let generation = number(route.pointer("/metadata/generation")).unwrap_or_default();
    let observed = number(route.pointer("/status/observedGeneration"));
    if observed.is_some_and(|observed| observed < generation) {
        return Answer::default();
    }
    let messages = list(route, "/status/validationMessages");
    let first = |level: &str| {
        let message = messages.iter().find(|m| text(m, "/level") == level)?;
        Some(sentence(route, message))
    };
    Answer { refused: first("ERROR"), complaint: first("WARNING") }
}

fn sentence(route: &Value, message: &Value) -> String {
    let (code, name) = (text(message, "/type/code"), text(message, "/type/name"));
    let (label, url) = (hosts::label(route), text(message, "/documentationUrl"));
    format!("{label}, status.validationMessages: {code} {name}; see {url}")
}

/// A count of 64 bits is text where Istio writes it, and a number where others do.
fn number(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
