//! `tidegate lint`: every mistake that can be seen without a cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use analysis::TemplateError;
use api::{Canary, MetricTemplate, MetricTemplateSpec};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use crate::args::LintArgs;
use crate::exit::Exit;
use crate::manifest::{self, Document, Place};
use crate::neighbours;
use crate::schema::{self, Fault, nearest};
use crate::text::chain;

/// Prints what is wrong, one line each, and counts.
pub(crate) fn run(args: &LintArgs) -> std::io::Result<Exit> {
    let LintArgs { files } = args;
    let mut out = std::io::stdout().lock();
    let mut documents = Vec::new();
    let mut unreadable = 0;
    for document in manifest::read(files) {
        match document {
            Ok(document) => documents.push(document),
            Err(error) => {
                unreadable += 1;
                writeln!(out, "{}", chain(&error))?;
            }
        }
    }
    let findings = lint(&documents);
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    let wrong = unreadable + findings.iter().filter(|f| !f.warning).count();
    let ours = documents.iter().filter(|d| is_ours(d)).count();
    match (wrong, ours) {
        (0, 0) => eprintln!("nothing of Tidegate's in these files"),
        (0, ours) => eprintln!("{ours} of Tidegate's objects, nothing wrong"),
        (1, _) => eprintln!("1 mistake"),
        (wrong, _) => eprintln!("{wrong} mistakes"),
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::Failed })
}

/// A mistake, or what may be one if the files aren't everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    pub(crate) fault: Fault,
    pub(crate) warning: bool,
}

impl Finding {
    pub(crate) fn wrong(document: &Document, fault: Fault) -> Self {
        Self { place: document.place.clone(), fault, warning: false }
    }

    pub(crate) fn doubtful(document: &Document, fault: Fault) -> Self {
        Self { place: document.place.clone(), fault, warning: true }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, fault, warning } = self;
        let warning = if *warning { "warning: " } else { "" };
        write!(f, "{place}:{}: {warning}{}", fault.path, fault.why)
    }
}

pub(crate) fn lint(documents: &[Document]) -> Vec<Finding> {
    let schemas = schemas();
    let templates = templates(documents);
    let mut findings = Vec::new();
    for document in documents.iter().filter(|d| is_ours(d)) {
        let mut faults = shape(document, &schemas);
        let whole = faults.iter().all(|fault| fault.unknown);
        match document.kind() {
            "Canary" if whole => match parse::<Canary>(document) {
                Ok(canary) => {
                    faults.extend(canary_faults(&canary, &templates));
                    findings.extend(neighbours::check(document, &canary, documents));
                }
                Err(fault) => faults.push(fault),
            },
            "MetricTemplate" if whole => match parse::<MetricTemplate>(document) {
                Ok(template) => faults.extend(template_fault(&template.spec)),
                Err(fault) => faults.push(fault),
            },
            _ => {}
        }
        findings.extend(faults.into_iter().map(|fault| Finding::wrong(document, fault)));
    }
    // In the order of the files, whatever was found when.
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    findings
}

fn is_ours(document: &Document) -> bool {
    document.api_version().split('/').next() == Some(api::GROUP)
}

struct Schemas {
    version: String,
    of: BTreeMap<String, JSONSchemaProps>,
}

fn schemas() -> Schemas {
    let mut schemas = Schemas { version: String::new(), of: BTreeMap::new() };
    for crd in api::crds() {
        for version in crd.spec.versions {
            schemas.version.clone_from(&version.name);
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            schemas.of.insert(crd.spec.names.kind.clone(), schema.unwrap_or_default());
        }
    }
    schemas
}

fn shape(document: &Document, schemas: &Schemas) -> Vec<Fault> {
    let mut faults = Vec::new();
    let version = format!("{}/{}", api::GROUP, schemas.version);
    if document.api_version() != version {
        let why = format!("{:?}: this version knows {version}", document.api_version());
        return vec![Fault::new("apiVersion", why)];
    }
    let Some(schema) = schemas.of.get(document.kind()) else {
        let kinds: Vec<_> = schemas.of.keys().map(String::as_str).collect();
        let near = nearest(document.kind(), &kinds);
        let meant = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let why = format!("{:?}: one of {}{meant}", document.kind(), kinds.join(", "));
        return vec![Fault::new("kind", why)];
    };
    if document.name().is_empty() && document.text("/metadata/generateName").is_none() {
        faults.push(Fault::new("metadata.name", "is missing"));
    }
    // What every object has, and the server writes.
    let mut object = document.object.clone();
    if let Some(fields) = object.as_object_mut() {
        for field in ["apiVersion", "kind", "metadata", "status"] {
            fields.remove(field);
        }
    }
    schema::check("", &object, schema, &mut faults);
    faults
}

fn parse<T: serde::de::DeserializeOwned>(document: &Document) -> Result<T, Fault> {
    serde_json::from_value(document.object.clone()).map_err(|e| Fault::new("spec", e.to_string()))
}

fn templates(documents: &[Document]) -> BTreeMap<String, MetricTemplateSpec> {
    let found = documents.iter().filter(|d| d.is(api::GROUP, "MetricTemplate"));
    found
        .filter_map(|d| parse::<MetricTemplate>(d).ok().map(|t| (d.name().to_owned(), t.spec)))
        .collect()
}

/// What the schema's rules say and what the controller would say; the first of each metric, the first of the rest.
fn canary_faults(canary: &Canary, templates: &BTreeMap<String, MetricTemplateSpec>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut known = templates.clone();
    for (i, metric) in canary.spec.analysis.metrics.iter().enumerate() {
        let path = format!("spec.analysis.metrics[{i}]");
        let given =
            [metric.builtin.is_some(), metric.query.is_some(), metric.template_ref.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            faults.push(Fault::new(&path, "set exactly one of builtin, query and templateRef"));
        } else if metric.builtin.is_some() && !metric.variables.is_empty() {
            let path = format!("{path}.variables");
            faults.push(Fault::new(&path, "a builtin metric has none; remove them"));
        }
        // One that isn't in the files may be in the cluster.
        if let Some(reference) = &metric.template_ref {
            let unseen =
                || MetricTemplateSpec { query: "1".to_owned(), variables: BTreeMap::new() };
            known.entry(reference.name.clone()).or_insert_with(unseen);
        }
    }
    if faults.is_empty()
        && let Err(invalid) = api::plan_of(&canary.spec, &known).and_then(|plan| api::parse(&plan))
    {
        faults.push(Fault::new(&format!("spec.{}", invalid.field), invalid.why));
    }
    faults
}

/// A variable without a default may be given by the metric that uses it.
fn template_fault(template: &MetricTemplateSpec) -> Option<Fault> {
    match analysis::lint(&template.query, &template.variables) {
        Ok(()) => None,
        Err(TemplateError::Unknown { name, .. }) if name.starts_with("variables.") => None,
        Err(error) => Some(Fault::new("spec.query", error.to_string())),
    }
}

#[cfg(test)]
mod tests;
