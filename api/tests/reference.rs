//! `docs/api.md` is the reference of the types.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::fmt::Write;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

const INTRODUCTION: &str = "\
# API reference

Made from the types: `UPDATE_GOLDEN=1 cargo test -p api` writes this page, and a test fails when it is stale.

All resources are in group `tidegate.dev`, version `v1alpha1`, and namespaced. `kubectl get tidegate` lists all kinds.
A duration is a number with a unit, such as `30s`, `5m` or `1h30m`. The API server drops fields that it doesn't know without
a word; `kubectl apply` warns about them, and `tidegate lint FILE` names them.
";

#[test]
fn the_reference_in_docs_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let text = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "docs/api.md is stale; refresh with UPDATE_GOLDEN=1 cargo test -p api");
}

fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for crd in api::crds() {
        kind(&mut page, &crd);
    }
    page
}

fn kind(page: &mut String, crd: &CustomResourceDefinition) {
    let names = &crd.spec.names;
    let short = names.short_names.iter().flatten().map(|s| format!("`{s}`")).collect::<Vec<_>>();
    let version = &crd.spec.versions[0];
    let schema = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref()).unwrap();
    let columns = version.additional_printer_columns.iter().flatten().map(|c| c.name.as_str());
    writeln!(page, "\n## {}\n", names.kind).unwrap();
    writeln!(page, "{}\n", schema.description.as_deref().unwrap_or_default()).unwrap();
    writeln!(
        page,
        "`{}.{}`, short name {}. `kubectl get` prints {}.",
        names.plural,
        crd.spec.group,
        short.join(", "),
        columns.collect::<Vec<_>>().join(", ")
    )
    .unwrap();
    for part in ["spec", "status"] {
        let Some(schema) = schema.properties.as_ref().and_then(|p| p.get(part)) else { continue };
        writeln!(page, "\n### {}: {part}\n", names.kind).unwrap();
        // What the controller writes has no defaults.
        let defaults = part == "spec";
        page.push_str(if defaults {
            "| field | type | default | |\n| --- | --- | --- | --- |\n"
        } else {
            "| field | type | |\n| --- | --- | --- |\n"
        });
        let mut rules: Vec<String> = Vec::new();
        fields(page, "", schema, defaults, &mut rules);
        let mut said = std::collections::BTreeSet::new();
        rules.retain(|rule| said.insert(rule.clone()));
        if !rules.is_empty() {
            page.push_str("\nRefused by the API server, with these words:\n\n");
            for rule in rules {
                writeln!(page, "- {rule}").unwrap();
            }
        }
    }
}

/// A line for each field, those of objects after it.
fn fields(
    page: &mut String,
    prefix: &str,
    schema: &JSONSchemaProps,
    defaults: bool,
    rules: &mut Vec<String>,
) {
    let messages = schema.x_kubernetes_validations.iter().flatten();
    rules.extend(messages.filter_map(|rule| rule.message.clone()));
    let required = schema.required.clone().unwrap_or_default();
    let mut all: Vec<_> = schema.properties.iter().flatten().collect();
    // What has to be written comes first; then by name, as the definition has it.
    all.sort_by_key(|(name, _)| !required.contains(name));
    for (name, field) in all {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let default = match (&field.default, required.contains(name)) {
            _ if !defaults => String::new(),
            (Some(value), _) => format!(" {} |", default(&value.0)),
            (None, true) => " required |".to_owned(),
            (None, false) => " |".to_owned(),
        };
        let text = field.description.as_deref().unwrap_or_default().replace('\n', " ");
        let range = range(field, &text);
        let end = if text.is_empty() || range.is_empty() { "" } else { " " };
        writeln!(page, "| `{path}` | {} |{default} {text}{end}{range} |", kind_of(field)).unwrap();
        match &field.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => {
                let messages = field.x_kubernetes_validations.iter().flatten();
                rules.extend(messages.filter_map(|rule| rule.message.clone()));
                fields(page, &format!("{path}[]"), items, defaults, rules);
            }
            _ => match &field.additional_properties {
                Some(JSONSchemaPropsOrBool::Schema(value)) => {
                    fields(page, &format!("{path}.*"), value, defaults, rules);
                }
                _ => fields(page, &path, field, defaults, rules),
            },
        }
    }
}

fn kind_of(field: &JSONSchemaProps) -> String {
    let plain = field.type_.as_deref().unwrap_or("any");
    match (plain, &field.items, &field.additional_properties) {
        ("array", Some(JSONSchemaPropsOrArray::Schema(items)), _) => {
            format!("list of {}", kind_of(items))
        }
        ("object", _, Some(JSONSchemaPropsOrBool::Schema(value))) => {
            format!("map to {}", kind_of(value))
        }
        ("string", ..) if is_duration(field) => "duration".to_owned(),
        ("string", ..) if field.format.as_deref() == Some("date-time") => "time".to_owned(),
        (plain, ..) => plain.to_owned(),
    }
}

fn is_duration(field: &JSONSchemaProps) -> bool {
    field.pattern.as_deref() == Some(api::DURATION_PATTERN)
}

/// Short enough for a table; the fields below an object have their own.
fn default(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.len() > 40 || value.is_object() { "see below".to_owned() } else { format!("`{text}`") }
}

/// What a value may be, as far as `text` doesn't say it.
fn range(field: &JSONSchemaProps, text: &str) -> String {
    let mut parts = Vec::new();
    if let Some(all) = &field.enum_ {
        let all: Vec<_> = all.iter().map(|v| v.0.as_str().unwrap_or_default()).collect();
        let all: Vec<_> = all.iter().filter(|v| !v.is_empty()).map(|v| format!("`{v}`")).collect();
        parts.push(format!("One of {}.", all.join(", ")));
    }
    match (field.minimum, field.maximum) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max}.")),
        (Some(min), None) if min != 0.0 => parts.push(format!("At least {min}.")),
        _ => {}
    }
    match (field.min_items, field.max_items) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max} entries.")),
        (None, Some(max)) => parts.push(format!("At most {max} entries.")),
        _ => {}
    }
    if let Some(max) = field.max_properties {
        parts.push(format!("At most {max} entries."));
    }
    if let Some(max) = field.max_length.filter(|_| !is_duration(field)) {
        parts.push(format!("At most {max} characters."));
    }
    parts.retain(|part| !text.contains(part.trim_end_matches('.')));
    parts.join(" ")
}
