//! What the README and `docs/` show is true as far as the types can tell: every YAML block can be read, every one of our
//! objects in it is valid, and no link leads nowhere.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::{Canary, CanaryAction, MetricTemplate, MetricTemplateSpec, parse, plan_of};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown file that users read, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut files = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().map(|f| (f.clone(), std::fs::read_to_string(f).unwrap())).collect()
}

/// The fenced blocks of this language, with the line that each begins at.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (i, line) in text.lines().enumerate() {
        let Some(info) = line.strip_prefix("```") else {
            if let Some((_, _, block)) = &mut open {
                block.push_str(line);
                block.push('\n');
            }
            continue;
        };
        match open.take() {
            Some((start, true, block)) => found.push((start, block)),
            Some((_, false, _)) => {}
            None => open = Some((i + 1, info == language, String::new())),
        }
    }
    found
}

fn documents(block: &str) -> Result<Vec<Value>, serde_norway::Error> {
    serde_norway::Deserializer::from_str(block).map(Value::deserialize).collect()
}

#[test]
fn every_object_of_ours_in_the_docs_is_valid() {
    let mut wrong = Vec::new();
    let mut ours = 0;
    for (file, text) in pages() {
        for (line, block) in blocks(&text, "yaml") {
            let place = format!("{}:{line}", file.display());
            let documents = match documents(&block) {
                Ok(documents) => documents,
                Err(error) => {
                    wrong.push(format!("{place}: {error}"));
                    continue;
                }
            };
            let templates = templates(&documents);
            for document in documents {
                let api_version = document["apiVersion"].as_str().unwrap_or_default();
                if api_version.split('/').next() != Some(api::GROUP) {
                    continue;
                }
                ours += 1;
                if let Err(why) = check(&document, &templates) {
                    wrong.push(format!("{place}: {why}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ours > 3, "only {ours} found; is the search for them still right?");
}

/// The templates that stand in the same block, for those that name them.
fn templates(documents: &[Value]) -> BTreeMap<String, MetricTemplateSpec> {
    let templates = documents.iter().filter(|d| d["kind"] == "MetricTemplate");
    let named = templates.filter_map(|d| {
        let template: MetricTemplate = serde_json::from_value(d.clone()).ok()?;
        Some((template.metadata.name?, template.spec))
    });
    named.collect()
}

fn check(document: &Value, templates: &BTreeMap<String, MetricTemplateSpec>) -> Result<(), String> {
    match document["kind"].as_str().unwrap_or_default() {
        "Canary" => {
            let canary: Canary = strictly(document)?;
            let plan = plan_of(&canary.spec, templates).map_err(|e| format!("spec.{e}"))?;
            parse(&plan).map(drop).map_err(|e| format!("spec.{e}"))
        }
        "MetricTemplate" => {
            let spec = strictly::<MetricTemplate>(document)?.spec;
            analysis::lint(&spec.query, &spec.variables).map_err(|e| e.to_string())
        }
        "CanaryAction" => strictly::<CanaryAction>(document).map(drop),
        other => Err(format!("kind {other:?} is none that people write")),
    }
}

/// Every field that was written is one that the type has.
fn strictly<T: DeserializeOwned + Serialize>(document: &Value) -> Result<T, String> {
    let object: T = serde_json::from_value(document.clone()).map_err(|e| e.to_string())?;
    let kept = serde_json::to_value(&object).map_err(|e| e.to_string())?;
    match lost("", document, &kept) {
        None => Ok(object),
        Some(field) => Err(format!("{field}: unknown field")),
    }
}

fn lost(path: &str, written: &Value, kept: &Value) -> Option<String> {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            written.iter().find_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match kept.get(name) {
                    Some(kept) => lost(&path, value, kept),
                    None => Some(path),
                }
            })
        }
        (Value::Array(written), Value::Array(kept)) => {
            written.iter().zip(kept).find_map(|(w, k)| lost(&format!("{path}[]"), w, k))
        }
        _ => None,
    }
}

#[test]
fn every_link_in_the_docs_leads_somewhere() {
    let mut dead = Vec::new();
    for (file, text) in pages() {
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let found = if anchor.is_empty() || target.extension().is_none_or(|e| e != "md") {
                target.exists()
            } else {
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                anchors(&text).iter().any(|a| a == anchor)
            };
            if !found {
                dead.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

/// The targets of `[text](target)`, those on the web left out.
fn links(text: &str) -> Vec<String> {
    let parts = text.split("](").skip(1);
    let targets = parts.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let local = targets.filter(|t| !t.starts_with("http") && !t.contains(char::is_whitespace));
    local.map(str::to_owned).collect()
}

/// As GitHub makes them of headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    titles.map(|title| title.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn the_page_for_people_on_call_explains_every_reason_and_every_cause() {
    let source = std::fs::read_to_string(root().join("rollout/src/reason.rs")).unwrap();
    let causes = std::fs::read_to_string(root().join("rollout/src/phase.rs")).unwrap();
    let page = std::fs::read_to_string(root().join("docs/on-call.md")).unwrap();
    let mut names = names(&source);
    // What `NoVerdict` is called by, which is the check's outcome.
    names.extend(["NoData", "MetricsError", "TooEarly", "ShareDiffers"].map(str::to_owned));
    let causes = self::names(&causes);
    assert!(names.len() > 35 && causes.len() > 8, "{} and {}", names.len(), causes.len());
    let missing: Vec<_> = names
        .iter()
        .chain(&causes)
        .filter(|name| !page.contains(&format!("\n| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "docs/on-call.md has no line in its tables for {missing:?}");
    let known = |name: &str| names.iter().chain(&causes).any(|n| n == name);
    let extra: Vec<_> = table_heads(&page).into_iter().filter(|name| !known(name)).collect();
    assert!(extra.is_empty(), "docs/on-call.md explains {extra:?}, which there is no more");
}

/// The quoted names on the right side of `Self::… => "…",`.
fn names(source: &str) -> Vec<String> {
    let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Self::"));
    let names = arms.filter_map(|arm| arm.split_once("=> \"")?.1.strip_suffix("\","));
    names.map(str::to_owned).collect()
}

/// What stands in code style in the first column of the tables under "Reasons" and "Causes".
fn table_heads(page: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut within = false;
    for line in page.lines() {
        if line.starts_with("## ") {
            within = line.starts_with("## Reasons") || line.starts_with("## Causes");
        }
        let cell = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |"));
        heads.extend(cell.filter(|_| within).map(|(head, _)| head.to_owned()));
    }
    heads
}
