//! Whether a Canary goes with the objects that stand in the same files: the target, its Service, their routes.

use api::{Canary, Provider};
use controller::objects::{Unfit, canary_deployment, canary_service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use providers::traffic::{Backends, KINDS, find};
use rollout::Revision;
use serde_json::{Value, json};

use crate::lint::Finding;
use crate::manifest::{Document, home};
use crate::schema::{Fault, nearest};

pub(crate) fn check(document: &Document, canary: &Canary, all: &[Document]) -> Vec<Finding> {
    let beside: Vec<_> = all.iter().filter(|d| d.beside(document)).collect();
    let here = Here { document, canary, beside };
    let mut findings = here.shared();
    let target =
        here.named("apps", "Deployment", &canary.spec.target_ref.name, "spec.targetRef.name");
    let service =
        here.named("", "Service", &canary.spec.traffic.service.name, "spec.traffic.service.name");
    findings.extend(target.missing);
    findings.extend(service.missing);
    if let Some(target) = target.found {
        findings.extend(here.target(target));
    }
    if let Some(service) = service.found {
        findings.extend(here.service(service, target.found));
    }
    findings.extend(here.routes());
    findings
}

struct Here<'a> {
    document: &'a Document,
    canary: &'a Canary,
    beside: Vec<&'a Document>,
}

/// An object by name, or the doubt whether it is anywhere.
struct Named<'a> {
    found: Option<&'a Document>,
    missing: Option<Finding>,
}

impl<'a> Here<'a> {
    fn all(&self, group: &'static str, kind: &'static str) -> impl Iterator<Item = &'a Document> {
        self.beside.iter().copied().filter(move |d| d.is(group, kind))
    }

    /// Files without any object of the kind say nothing about it.
    fn named(&self, group: &'static str, kind: &'static str, name: &str, field: &str) -> Named<'a> {
        let found = self.all(group, kind).find(|d| d.name() == name);
        let names: Vec<_> = self.all(group, kind).map(Document::name).collect();
        let missing = (found.is_none() && !names.is_empty()).then(|| {
            let meant = nearest(name, &names).map(|near| format!("; did you mean {near}?"));
            let why = format!("no {kind} {name:?} in these files{}", meant.unwrap_or_default());
            Finding::doubtful(self.document, Fault::new(field, why))
        });
        Named { found, missing }
    }

    /// Two canaries of one target or Service would pull in two directions.
    fn shared(&self) -> Vec<Finding> {
        let spec = &self.canary.spec;
        let mut findings = Vec::new();
        for other in self.all(api::GROUP, "Canary").filter(|d| d.name() != self.document.name()) {
            let pairs = [
                ("/spec/targetRef/name", "spec.targetRef.name", &spec.target_ref.name),
                (
                    "/spec/traffic/service/name",
                    "spec.traffic.service.name",
                    &spec.traffic.service.name,
                ),
            ];
            for (pointer, path, name) in pairs {
                if other.text(pointer) == Some(name) {
                    let why = format!(
                        "{name:?} is canary {}'s as well; one of them has to go",
                        other.name()
                    );
                    findings.push(Finding::wrong(self.document, Fault::new(path, why)));
                }
            }
        }
        findings
    }

    fn target(&self, target: &'a Document) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Err(unfit) = canary_deployment(&target.object, &nobody(), &Revision::new(""), 1) {
            findings.push(unfit_finding(target, &unfit));
        }
        if target.object.pointer("/spec/paused").is_some() {
            let why = "new revisions are held by it, so an apply that sets it is refused in a run; remove it";
            findings.push(Finding::wrong(target, Fault::new("spec.paused", why)));
        }
        for scaler in self.all("autoscaling", "HorizontalPodAutoscaler") {
            let of = |field: &str| scaler.text(&format!("/spec/scaleTargetRef/{field}"));
            if of("kind") == Some("Deployment") && of("name") == Some(target.name()) {
                let why = format!(
                    "deployment {} is a canary's target, and one with an autoscaler can't be one yet; remove the autoscaler or the canary",
                    target.name()
                );
                findings.push(Finding::wrong(scaler, Fault::new("spec.scaleTargetRef.name", why)));
            }
        }
        findings
    }

    fn service(&self, service: &'a Document, target: Option<&'a Document>) -> Vec<Finding> {
        if let Err(unfit) = canary_service(&service.object, &nobody()) {
            return vec![unfit_finding(service, &unfit)];
        }
        let mut findings = Vec::new();
        if let Some(target) = target {
            findings.extend(selects(service, target));
        }
        findings.extend(self.port(service));
        findings
    }

    fn port(&self, service: &Document) -> Option<Finding> {
        let ports = service.object.pointer("/spec/ports").and_then(Value::as_array)?;
        let numbers: Vec<_> = ports.iter().filter_map(|p| p["port"].as_u64()).collect();
        let listed = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let traffic = &self.canary.spec.traffic;
        let why = match traffic.service.port {
            Some(port) if !numbers.contains(&port.into()) => {
                format!("{port}: service {} has {listed}", service.name())
            }
            None if traffic.route.is_some() && numbers.len() > 1 => {
                format!(
                    "is missing: service {} has {listed}, and the route needs one",
                    service.name()
                )
            }
            Some(_) | None => return None,
        };
        Some(Finding::wrong(self.document, Fault::new("spec.traffic.service.port", why)))
    }

    fn routes(&self) -> Vec<Finding> {
        let service = &self.canary.spec.traffic.service.name;
        let namespace = home(self.document, &self.beside);
        let Ok(backends) = Backends::new(namespace, service) else {
            // The schema has said it.
            return Vec::new();
        };
        let mut findings = Vec::new();
        let (mut kinds, mut named) = (Vec::new(), false);
        let wanted = self.canary.spec.provider.map(Provider::name);
        for provider in KINDS {
            let kind = provider.kind();
            if wanted.is_some_and(|wanted| wanted != kind.provider) {
                continue;
            }
            for route in self.all(kind.group, kind.kind) {
                kinds.push(kind.kind);
                let mut object = route.object.clone();
                if route.namespace().is_none() {
                    object["metadata"]["namespace"] = json!(namespace);
                }
                let found = find(provider, [&object], &backends);
                named |= !found.routes.is_empty() || !found.refused.is_empty();
                let refused = found.refused.iter();
                findings.extend(refused.map(|refused| {
                    Finding::wrong(route, Fault::new(&refused.field, refused.why.to_string()))
                }));
            }
        }
        kinds.dedup();
        if !kinds.is_empty() && !named && self.canary.spec.traffic.route.is_none() {
            let kinds = kinds.join(" or ");
            let why = format!(
                "no {kinds} in these files names service {service:?}, and there is no traffic.route"
            );
            let fault = Fault::new("spec.traffic.service.name", why);
            findings.push(Finding::doubtful(self.document, fault));
        }
        findings
    }
}

fn selects(service: &Document, target: &Document) -> Vec<Finding> {
    let labels = target.object.pointer("/spec/template/metadata/labels");
    let selector = service.object.pointer("/spec/selector").and_then(Value::as_object);
    let off = selector
        .into_iter()
        .flatten()
        .filter(|(key, value)| labels.and_then(|labels| labels.get(key.as_str())) != Some(value));
    off.map(|(key, value)| {
        let why = match labels.and_then(|labels| labels.get(key.as_str())) {
            Some(label) => {
                format!("{value}: the pods of deployment {} have {label}", target.name())
            }
            None => format!("{value}: the pods of deployment {} don't have it", target.name()),
        };
        Finding::wrong(service, Fault::new(&format!("spec.selector.{key}"), why))
    })
    .collect()
}

fn unfit_finding(document: &Document, unfit: &Unfit) -> Finding {
    Finding::wrong(document, Fault::new(unfit.field, &*unfit.why))
}

/// Whether an object is fit doesn't depend on whose it is.
fn nobody() -> OwnerReference {
    OwnerReference::default()
}
