//! Reading plain JSON. What isn't of the right shape isn't there.

use std::collections::BTreeMap;

use serde_json::Value;

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// A map of texts, such as labels or a Service's selector.
pub(super) fn map(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let all = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

/// `a=1,b=2`, as kubectl's `-l` takes it.
pub(super) fn query(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

/// The first label that `wanted` asks for and `labels` have otherwise, with what they have.
pub(super) fn unmet<'a>(
    wanted: &'a BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Option<(&'a str, &'a str)> {
    let differs = |(k, v): &(&String, &String)| labels.get(*k) != Some(*v);
    wanted.iter().find(differs).map(|(k, v)| (k.as_str(), v.as_str()))
}

/// A label selector of Kubernetes, `matchLabels` and `matchExpressions`. An empty one selects everything.
pub(super) fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let expression = |e: &Value| {
        let value = labels.get(text(e, "/key"));
        let among = || {
            let values = list(e, "/values").iter().filter_map(Value::as_str);
            value.is_some_and(|value| values.clone().any(|v| v == value))
        };
        match text(e, "/operator") {
            "In" => among(),
            "NotIn" => !among(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    unmet(&map(selector, "/matchLabels"), labels).is_none()
        && list(selector, "/matchExpressions").iter().all(expression)
}

/// The condition of this type among those at `pointer`.
pub(super) fn condition<'a>(object: &'a Value, pointer: &str, kind: &str) -> Option<&'a Value> {
    list(object, pointer).iter().find(|c| text(c, "/type") == kind)
}

/// `Accepted False NotAllowedByListeners: no listener ...`.
pub(super) fn says(condition: &Value) -> String {
    let part = |field: &str| text(condition, field);
    let message = part("/message");
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{} {} {}{colon}{message}", part("/type"), part("/status"), part("/reason"))
}

pub(super) fn ready(pod: &Value) -> bool {
    condition(pod, "/status/conditions", "Ready").is_some_and(|c| text(c, "/status") == "True")
}

/// It counts: it isn't going, and has not ended.
pub(super) fn lives(pod: &Value) -> bool {
    text(pod, "/metadata/deletionTimestamp").is_empty()
        && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_is_read_as_kubernetes_reads_it() {
        let labels = map(&json!({"app": "shop", "tier": "web"}), "");
        for (selector, selected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "shop"}}), true),
            (json!({"matchLabels": {"app": "other"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "shop"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["canary"]}]}),
                true,
            ),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
            (
                json!({"matchLabels": {"app": "shop"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}),
                false,
            ),
        ] {
            assert_eq!(selects(&selector, &labels), selected, "{selector}");
        }
    }
}
