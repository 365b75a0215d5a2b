//! Where a Service is named in an object, wherever and however its kind writes it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Whether a text anywhere in it is this name, alone or as the first label of a host: a cheap look before a thorough one.
pub fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(_) => is_named(value, name),
        Value::Array(all) => all.iter().any(|v| mentions(v, name)),
        Value::Object(all) => all.values().any(|v| mentions(v, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The port of the Service that all these routes name; `None` if they name several or none.
pub fn port<'a>(routes: impl IntoIterator<Item = &'a Value>, service: &str) -> Option<String> {
    let mut found = BTreeSet::new();
    let specs = routes.into_iter().filter_map(|route| route.get("spec"));
    specs.for_each(|spec| ports(spec, service, &mut found));
    found.pop_first().filter(|_| found.is_empty())
}

/// The ports next to a Service's name.
fn ports(value: &Value, service: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) => {
            let named = ["name", "host"].iter().filter_map(|key| all.get(*key));
            if named.into_iter().any(|name| is_named(name, service)) {
                let port = all.get("port");
                let port = port.and_then(|p| p.get("number")).or(port);
                found.extend(port.and_then(|port| match port {
                    Value::Number(number) => Some(number.to_string()),
                    Value::String(name) => Some(name.clone()),
                    _ => None,
                }));
            }
            all.values().for_each(|v| ports(v, service, found));
        }
        Value::Array(all) => all.iter().for_each(|v| ports(v, service, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_named(value: &Value, name: &str) -> bool {
    let rest = value.as_str().and_then(|text| text.strip_prefix(name));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
