//! The filter that sends the canary a copy of a rule's requests.

use rollout::Weight;
use serde_json::{Value, json};

use super::refs;
use crate::traffic::Backends;

/// Of a rule, in the definitions of Gateway API.
pub(super) const MOST_FILTERS: usize = 16;

/// Last, so that the copy is made of what the owner's filters have made of the request. What has no room for it, or no port, stays.
pub(super) fn add(rule: &mut Value, service: &str, share: Weight) {
    let port = rule.pointer("/backendRefs/0/port").filter(|p| !p.is_null()).cloned();
    let mut filters = refs::list(rule, "/filters").to_vec();
    let (Some(port), true) = (port, filters.len() < MOST_FILTERS) else { return };
    let canary =
        json!({"group": "", "kind": "Service", "name": Backends::canary_of(service), "port": port});
    filters.push(json!({
        "type": "RequestMirror",
        "requestMirror": {"backendRef": canary, "percent": share.percent()},
    }));
    rule["filters"] = json!(filters);
}

/// Takes the filters out whose copies go to a canary of ours.
pub(super) fn take_out(route: &Value, rule: &mut Value, ours: impl Fn(&str) -> bool) {
    let Some(filters) = rule.get_mut("filters").and_then(Value::as_array_mut) else { return };
    let all = filters.len();
    filters.retain(|f| !of(route, f).is_some_and(&ours));
    // As it was before the first one came.
    if filters.is_empty()
        && all > 0
        && let Some(rule) = rule.as_object_mut()
    {
        rule.remove("filters");
    }
}

/// The Service whose canary a filter would send copies to.
pub(super) fn of<'a>(route: &'a Value, filter: &'a Value) -> Option<&'a str> {
    let canary = refs::Backend::of(route, filter.pointer("/requestMirror/backendRef")?)?;
    Backends::service_of(canary.name).filter(|_| canary.is_at_home(route))
}

/// How many percent of a rule's requests the canary of this Service gets a copy of, rounded up; 0 without such a filter.
pub(super) fn share(route: &Value, rule: &Value, service: &str) -> u64 {
    let ours = refs::list(rule, "/filters").iter().filter(|f| of(route, f) == Some(service));
    ours.map(percent).max().unwrap_or_default()
}

fn percent(filter: &Value) -> u64 {
    let number = |field: &str| filter.pointer(&format!("/requestMirror/{field}"))?.as_u64();
    let fraction = || {
        let parts = number("fraction/numerator")?;
        let whole = number("fraction/denominator").unwrap_or(100);
        Some(
            u64::try_from((u128::from(parts) * 100).div_ceil(u128::from(whole.max(1))))
                .unwrap_or(u64::MAX),
        )
    };
    // Without either, it is every request.
    number("percent").or_else(fraction).unwrap_or(100).min(100)
}
