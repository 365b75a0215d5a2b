//! `tidegate render`: what would be written for a step, in the order in which it would be.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use api::{Analysis, CANARY_LABEL, Canary, CanarySpec, PIN_LABEL, Provider, REVISION_ANNOTATION};
use controller::objects::{Unfit, canary_deployment, canary_service, made, managed_route};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use providers::traffic::{Backends, KINDS, ServiceNameTooLong, TrafficProvider, find};
use rollout::{Plan, Revision, Shape, Weight};
use serde_json::{Value, json};

use crate::args::RenderArgs;
use crate::exit::Exit;
use crate::manifest::{self, Document, ManifestError};

/// What only a cluster knows.
const UNKNOWN_HASH: &str = "hash-of-stable";
const UNKNOWN_REVISION: &str = "hash-of-the-template";
const UNKNOWN_UID: &str = "uid-of-the-canary";

#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderFailure {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("no Canary in these files; name the file that has it")]
    NoCanary,
    #[error("canary {name}: {why}; tidegate lint says more")]
    Canary { name: String, why: String },
    #[error("canary {name} has {steps} steps; give --step 0 (at rest) to {steps}")]
    NoStep { name: String, steps: usize },
    #[error(
        "canary {canary}: its {kind} {name:?} is in none of these files; name the file that has it"
    )]
    Missing { canary: String, kind: &'static str, name: String },
    #[error(
        "canary {canary}: no route in these files names service {service:?}, and there is no spec.traffic.route; name the file that has it"
    )]
    NoRoute { canary: String, service: String },
    #[error("{0}")]
    Route(String),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Backends(#[from] ServiceNameTooLong),
    #[error("an object could not be written as YAML")]
    Yaml(#[from] serde_norway::Error),
    #[error("the output could not be written")]
    Write(#[from] std::io::Error),
}

pub(crate) fn run(args: &RenderArgs) -> Result<Exit, RenderFailure> {
    let RenderArgs { files, step } = args;
    let documents = read(files)?;
    std::io::stdout().write_all(render(&documents, *step)?.as_bytes())?;
    Ok(Exit::Done)
}

fn read(files: &[PathBuf]) -> Result<Vec<Document>, ManifestError> {
    manifest::read(files).into_iter().collect()
}

/// An object with what there is to say about it.
struct Piece {
    comment: String,
    object: Value,
}

pub(crate) fn render(documents: &[Document], step: usize) -> Result<String, RenderFailure> {
    let canaries: Vec<_> = documents.iter().filter(|d| d.is(api::GROUP, "Canary")).collect();
    if canaries.is_empty() {
        return Err(RenderFailure::NoCanary);
    }
    let mut text = String::new();
    for canary in canaries {
        for Piece { comment, object } in pieces(canary, documents, step)? {
            text = format!("{text}---\n# {comment}\n{}", serde_norway::to_string(&object)?);
        }
    }
    Ok(text)
}

fn pieces(
    document: &Document,
    documents: &[Document],
    step: usize,
) -> Result<Vec<Piece>, RenderFailure> {
    let scene = Scene::new(document, documents)?;
    let target = scene.named("apps", "Deployment", &scene.canary.spec.target_ref.name)?;
    let service = scene.named("", "Service", &scene.canary.spec.traffic.service.name)?;
    let plan = scene.plan()?;
    let index = scene.step(&plan, step)?;
    let mut pieces = vec![scene.label(&target), scene.service(&service)?];
    if let Some(index) = index {
        pieces.push(scene.pin(&service, &plan.shape(index)));
        pieces.push(scene.deployment(&target, &plan, index)?);
    }
    pieces.extend(scene.routes(&service, index.map(|index| plan.shape(index)).as_ref())?);
    Ok(pieces)
}

struct Scene<'a> {
    canary: Canary,
    name: String,
    namespace: String,
    beside: Vec<&'a Document>,
}

impl<'a> Scene<'a> {
    fn new(document: &'a Document, all: &'a [Document]) -> Result<Self, RenderFailure> {
        let name = document.name().to_owned();
        let canary: Canary = serde_json::from_value(document.object.clone())
            .map_err(|e| RenderFailure::Canary { name: name.clone(), why: e.to_string() })?;
        let beside: Vec<_> = all.iter().filter(|d| d.beside(document)).collect();
        let namespace = manifest::home(document, &beside).to_owned();
        Ok(Self { canary, name, namespace, beside })
    }

    /// With the step that testers are put in front of the others.
    fn plan(&self) -> Result<Plan, RenderFailure> {
        // How it is judged makes no difference to what is written.
        let spec = CanarySpec { analysis: Analysis::default(), ..self.canary.spec.clone() };
        let invalid = |e: api::Invalid| RenderFailure::Canary {
            name: self.name.clone(),
            why: format!("spec.{e}"),
        };
        let plan = api::plan_of(&spec, &BTreeMap::new()).and_then(|plan| api::parse(&plan));
        Ok(plan.map_err(invalid)?.plan)
    }

    /// Its index, from its number as the run counts them. `None`: at rest.
    fn step(&self, plan: &Plan, number: usize) -> Result<Option<usize>, RenderFailure> {
        let steps = plan.steps().len();
        if number > steps {
            return Err(RenderFailure::NoStep { name: self.name.clone(), steps });
        }
        Ok(number.checked_sub(1))
    }

    fn named(&self, group: &str, kind: &'static str, name: &str) -> Result<Value, RenderFailure> {
        let found = self.beside.iter().find(|d| d.is(group, kind) && d.name() == name);
        let missing =
            || RenderFailure::Missing { canary: self.name.clone(), kind, name: name.to_owned() };
        Ok(self.at_home(found.ok_or_else(missing)?))
    }

    /// With the namespace that it is applied to.
    fn at_home(&self, document: &Document) -> Value {
        let mut object = document.object.clone();
        if document.namespace().is_none() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        object
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{}/v1alpha1", api::GROUP),
            kind: "Canary".to_owned(),
            name: self.name.clone(),
            uid: UNKNOWN_UID.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    fn label(&self, target: &Value) -> Piece {
        Piece {
            comment: "your Deployment, at rest too: this label beside what is there; new revisions are held".to_owned(),
            object: json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {
                    "name": target["metadata"]["name"],
                    "namespace": target["metadata"]["namespace"],
                    "labels": { CANARY_LABEL: self.name },
                },
            }),
        }
    }

    fn service(&self, service: &Value) -> Result<Piece, RenderFailure> {
        let object = canary_service(service, &self.owner())?;
        let comment = "made, and there at rest too: selects the canary's pods".to_owned();
        Ok(Piece { comment, object })
    }

    fn pin(&self, service: &Value, shape: &Shape) -> Piece {
        let mut selector = service["spec"]["selector"].clone();
        let by_selector = self.canary.spec.provider == Some(Provider::Kubernetes);
        let hash = if by_selector && shape.weight == Weight::FULL {
            "hash-of-the-canary"
        } else {
            UNKNOWN_HASH
        };
        if by_selector && shape.weight > Weight::ZERO && shape.weight < Weight::FULL {
            return Piece {
                comment: "your Service, as you wrote it: it selects the pods of both".to_owned(),
                object: service.clone(),
            };
        }
        selector[api::POD_TEMPLATE_HASH] = json!(hash);
        Piece {
            comment: "your Service, for the time of the run: this label; the API server adds the hash to the selector".to_owned(),
            object: json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": service["metadata"]["name"],
                    "namespace": service["metadata"]["namespace"],
                    "labels": { PIN_LABEL: hash },
                },
                "spec": { "selector": selector },
            }),
        }
    }

    fn deployment(&self, target: &Value, plan: &Plan, step: usize) -> Result<Piece, RenderFailure> {
        let wanted = target.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let (replicas, share) = (plan.size(step).canary_pods(wanted), plan.step(step).weight);
        let revision = Revision::new(UNKNOWN_REVISION);
        let object = canary_deployment(target, &self.owner(), &revision, replicas)?;
        let comment = format!(
            "made, for the time of the run: {replicas} of {wanted} pods for {share} of the traffic; {REVISION_ANNOTATION} is the template's hash"
        );
        Ok(Piece { comment, object })
    }

    fn routes(&self, service: &Value, shape: Option<&Shape>) -> Result<Vec<Piece>, RenderFailure> {
        if self.canary.spec.provider == Some(Provider::Kubernetes) {
            return Ok(vec![]); // its Service is all there is
        }
        let backends = Backends::new(&self.namespace, &self.canary.spec.traffic.service.name)?;
        let wanted = self.canary.spec.provider.map(Provider::name);
        let kinds = KINDS.into_iter().filter(|p| wanted.is_none_or(|w| w == p.kind().provider));
        let mut ours: Vec<(&dyn TrafficProvider, Value)> = Vec::new();
        for provider in kinds {
            let kind = provider.kind();
            let beside = self.beside.iter().filter(|d| d.is(kind.group, kind.kind));
            let routes: Vec<_> = beside.map(|d| self.at_home(d)).collect();
            let found = find(provider, &routes, &backends);
            if let Some(refused) = found.refused.first() {
                return Err(RenderFailure::Route(refused.to_string()));
            }
            let named = |route: &Value| {
                found.routes.iter().any(|f| route["metadata"]["name"] == json!(f.name))
            };
            ours.extend(routes.into_iter().filter(named).map(|route| (provider, route)));
        }
        let whose = if ours.is_empty() { "made" } else { "your route" };
        if ours.is_empty() {
            ours.push(self.managed(service, backends.clone())?);
        }
        let as_of = match shape {
            None => "at rest: as its owner wrote it".to_owned(),
            Some(shape) => {
                format!("at {shape}: annotations are written, the API server makes the rest of it")
            }
        };
        let piece = |(provider, route): (&dyn TrafficProvider, Value)| Piece {
            comment: format!("{whose}, {as_of}"),
            object: provider.render(&route, &backends, shape),
        };
        Ok(ours.into_iter().map(piece).collect())
    }

    fn managed(
        &self,
        service: &Value,
        backends: Backends,
    ) -> Result<(&'static dyn TrafficProvider, Value), RenderFailure> {
        let route = managed_route(&self.canary, service, backends)?;
        let route = route.ok_or_else(|| RenderFailure::NoRoute {
            canary: self.name.clone(),
            service: self.canary.spec.traffic.service.name.clone(),
        })?;
        Ok(made(&self.canary, &route)?)
    }
}

#[cfg(test)]
mod tests;
