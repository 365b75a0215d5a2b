//! What the API server would say of an object's shape, by the schema of its definition, and what it would drop without a word.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::core::Duration;
use serde_json::{Map, Value};

const DURATION: &str = "a duration is needed, such as 30s, 5m or 1h30m";

/// A field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) path: String,
    pub(crate) why: String,
    /// The server would drop it silently, and go on with the rest.
    pub(crate) unknown: bool,
}

impl Fault {
    pub(crate) fn new(path: &str, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into(), unknown: false }
    }
}

pub(crate) fn check(path: &str, value: &Value, schema: &JSONSchemaProps, faults: &mut Vec<Fault>) {
    if value.is_null() {
        return;
    }
    if let Some(kind) = schema.type_.as_deref()
        && !is_a(value, kind)
    {
        let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
        let what = if is_duration(schema) {
            DURATION.to_owned()
        } else {
            format!("{article} {kind} is needed")
        };
        let why = format!("{}: {what}", short(value));
        faults.push(Fault::new(path, why));
        return;
    }
    if let Some(allowed) = &schema.enum_
        && !allowed.iter().any(|one| one.0 == *value)
    {
        let all: Vec<_> = allowed.iter().filter_map(|one| one.0.as_str()).collect();
        let why = format!("{}: one of {}{}", short(value), all.join(", "), meant(value, &all));
        faults.push(Fault::new(path, why));
    }
    match value {
        Value::Object(fields) => object(path, fields, schema, faults),
        Value::Array(items) => array(path, items, schema, faults),
        Value::String(text) => string(path, text, schema, faults),
        Value::Number(number) => range(path, number, schema, faults),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
        }
        _ => true,
    }
}

fn object(
    path: &str,
    fields: &Map<String, Value>,
    schema: &JSONSchemaProps,
    faults: &mut Vec<Fault>,
) {
    let none = std::collections::BTreeMap::new();
    let known = schema.properties.as_ref().unwrap_or(&none);
    let more = schema.additional_properties.as_ref();
    let any = schema.x_kubernetes_preserve_unknown_fields == Some(true)
        || (known.is_empty() && more.is_none());
    for (name, value) in fields {
        let path = join(path, name);
        match (known.get(name), more) {
            (Some(schema), _) => check(&path, value, schema, faults),
            (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => {
                check(&path, value, schema, faults);
            }
            (None, _) if any => {}
            (None, _) => {
                let names: Vec<_> = known.keys().map(String::as_str).collect();
                let why = match nearest(name, &names) {
                    Some(near) => format!("unknown field; did you mean {near}?"),
                    None => format!("unknown field; there are {}", names.join(", ")),
                };
                faults.push(Fault { path, why, unknown: true });
            }
        }
    }
    for name in schema.required.iter().flatten() {
        if fields.get(name).is_none_or(Value::is_null) {
            faults.push(Fault::new(&join(path, name), "is missing"));
        }
    }
    let most = schema.max_properties.and_then(|n| usize::try_from(n).ok());
    if let Some(most) = most.filter(|most| fields.len() > *most) {
        faults.push(Fault::new(path, format!("{} entries, at most {most}", fields.len())));
    }
}

fn array(path: &str, items: &[Value], schema: &JSONSchemaProps, faults: &mut Vec<Fault>) {
    let count = items.len();
    limits(path, count, "entries", (schema.min_items, schema.max_items), faults);
    if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
        for (i, item) in items.iter().enumerate() {
            check(&format!("{path}[{i}]"), item, schema, faults);
        }
    }
}

fn string(path: &str, text: &str, schema: &JSONSchemaProps, faults: &mut Vec<Fault>) {
    if is_duration(schema) {
        match text.parse::<Duration>() {
            Ok(duration) if !duration.is_negative() && !text.starts_with('+') && text != "0" => {}
            _ => {
                let why = format!("{text:?}: {DURATION}");
                faults.push(Fault::new(path, why));
                return;
            }
        }
    }
    let count = text.chars().count();
    limits(path, count, "characters", (schema.min_length, schema.max_length), faults);
}

/// The other patterns are for `parse`, which has words for them.
fn is_duration(schema: &JSONSchemaProps) -> bool {
    schema.pattern.as_deref() == Some(api::DURATION_PATTERN)
}

fn limits(
    path: &str,
    count: usize,
    what: &str,
    (least, most): (Option<i64>, Option<i64>),
    faults: &mut Vec<Fault>,
) {
    let limit = |n: Option<i64>| n.and_then(|n| usize::try_from(n).ok());
    if let Some(least) = limit(least).filter(|least| count < *least) {
        faults.push(Fault::new(path, format!("{count} {what}, at least {least}")));
    }
    if let Some(most) = limit(most).filter(|most| count > *most) {
        faults.push(Fault::new(path, format!("{count} {what}, at most {most}")));
    }
}

fn range(
    path: &str,
    number: &serde_json::Number,
    schema: &JSONSchemaProps,
    faults: &mut Vec<Fault>,
) {
    let Some(value) = number.as_f64() else { return };
    if let Some(least) = schema.minimum.filter(|least| value < *least) {
        faults.push(Fault::new(path, format!("{number}: at least {least}")));
    }
    if let Some(most) = schema.maximum.filter(|most| value > *most) {
        faults.push(Fault::new(path, format!("{number}: at most {most}")));
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn short(value: &Value) -> String {
    crate::text::cut(&value.to_string(), 40)
}

fn meant(value: &Value, all: &[&str]) -> String {
    let near = value.as_str().and_then(|text| nearest(text, all));
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// The name that was meant, if it is at most a third of the letters away.
pub(crate) fn nearest<'a>(name: &str, all: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_lowercase());
    let near = all.iter().copied().min_by_key(|known| distance(known))?;
    (distance(near) * 3 <= near.chars().count().max(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_taken_for_what_was_meant() {
        let all = ["weight", "checks", "hold"];
        assert_eq!(nearest("weigth", &all), Some("weight"));
        assert_eq!(nearest("Weight", &all), Some("weight"));
        assert_eq!(nearest("setWeight", &all), None);
        assert_eq!(nearest("pause", &all), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
