//! Reading plain JSON. What isn't of the right shape isn't there.

use serde_json::Value;

pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The value of the annotation of this key, if it is there.
pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// `route <namespace>/<name>`, as it is called in sentences.
pub(super) fn label(object: &Value) -> String {
    format!("route {}/{}", namespace(object), name(object))
}
