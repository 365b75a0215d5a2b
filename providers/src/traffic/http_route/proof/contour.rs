//! Contour copies all requests, whatever share a filter asks for.

use serde_json::Value;

use super::{Place, refused};
use crate::traffic::Proof;
use crate::traffic::http_route::refs;

pub(super) fn proof(place: &Place<'_>) -> Proof {
    let part = |filter: &Value| {
        let mirror = &filter["requestMirror"];
        let whole = mirror.get("percent").is_none_or(|p| p.is_null() || *p == 100)
            && mirror.get("fraction").is_none_or(Value::is_null);
        !mirror.is_null() && !whole
    };
    let rules = refs::rules(place.route).iter().enumerate();
    let found = rules.into_iter().find_map(|(i, rule)| {
        let place = refs::list(rule, "/filters").iter().position(part)?;
        Some(format!("{}.filters[{place}].requestMirror", refs::rule_label(i, rule)))
    });
    refused(found.map(|field| {
        format!("{field}: contour copies all requests, whatever share is asked for; ask for 100, or take it out")
    }))
}
