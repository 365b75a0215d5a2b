//! What the objects around a route show, where its status alone would be believed too easily.

mod cilium;
mod contour;
mod istio;
mod linkerd;

use serde_json::Value;

use super::refs::{self, Parent};
use super::status::{self, Entry};
use crate::traffic::{Around, Backends, ObjectKind, Proof, System, Wanted, mesh};

/// A parent of a route, and what is known of it.
struct Place<'a> {
    route: &'a Value,
    parent: &'a Parent,
    backends: &'a Backends,
    around: &'a Around,
}

/// What has to be read for [`of`]: of a Service also what tells who looks after it, so before anybody has answered.
pub(super) fn evidence(route: &Value) -> Vec<Wanted> {
    let mut all = Vec::new();
    for parent in refs::parents(route) {
        if let Some((namespace, service)) = parent.of_service() {
            all.push(Wanted::one(ObjectKind::SERVICE, namespace, service));
            all.push(Wanted::namespace(namespace));
        }
        for system in systems(route, &parent) {
            match system {
                System::Linkerd => all.extend(linkerd::evidence(&parent)),
                System::CiliumMesh | System::CiliumGateway => {
                    all.extend(cilium::evidence(route, &parent));
                }
                System::Traefik
                | System::TraefikService
                | System::EnvoyGateway
                | System::Contour
                | System::Istio
                | System::IstioWithoutTelemetry
                | System::IstioGateway(_)
                | System::IstioMesh(_)
                | System::IstioAmbient
                | System::ContourGateway
                | System::Kgateway
                | System::NginxGatewayFabric
                | System::Kubernetes
                | System::Other(_) => {}
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Who speaks for this parent. Of a Service that nobody has spoken for it may be any.
fn systems(route: &Value, parent: &Parent) -> Vec<System> {
    let answered: Vec<System> =
        status::current(route, parent).into_iter().map(|e| e.system).collect();
    if answered.is_empty() && parent.of_service().is_some() {
        return vec![System::Linkerd, System::CiliumMesh];
    }
    answered
}

pub(super) fn of(route: &Value, backends: &Backends, around: &Around) -> Proof {
    let label = refs::label(route);
    let mut proof = Proof::default();
    for parent in refs::parents(route) {
        let place = Place { route, parent: &parent, backends, around };
        let Proof { refused, complaint, programmed } = place.proof();
        let told = |says: Option<String>| says.map(|says| format!("{label}, {parent}: {says}"));
        proof = proof.and(Proof { refused: told(refused), complaint: told(complaint), programmed });
    }
    proof
}

impl Place<'_> {
    fn proof(&self) -> Proof {
        let said = status::current(self.route, self.parent);
        let marks = match self.parent.of_service() {
            Some((namespace, service)) => mesh::marks(self.around, namespace, service),
            None => std::collections::BTreeSet::new(),
        };
        let others = |entry: &Entry| {
            !entry.system.tells_generation()
                && !marks.is_empty()
                && !marks.contains(&entry.system)
                && !matches!(entry.system, System::Other(_))
        };
        let (past, said): (Vec<_>, Vec<_>) = said.into_iter().partition(others);
        if let (Some(past), [], Some(here)) = (past.first(), &said[..], marks.first()) {
            let generation = status::generation(self.route);
            let refused = format!(
                "no answer yet to generation {generation} from {here}, in which the service is; {} never says which generation it means",
                past.system
            );
            return Proof { refused: Some(refused), ..Proof::default() };
        }
        let mut proof = Proof::default();
        for found in said.iter().map(|entry| self.of_system(&entry.system, Some(entry))) {
            proof = proof.and(found);
        }
        if let (true, Some(here), Some(_)) =
            (said.is_empty(), marks.first(), self.parent.of_service())
        {
            // Nobody has spoken yet, so at rest: what is there already to be seen.
            proof = self.of_system(here, None);
        }
        proof
    }

    fn of_system(&self, system: &System, said: Option<&Entry>) -> Proof {
        match system {
            System::IstioMesh(_) | System::IstioAmbient => istio::proof(self, said),
            System::Linkerd => linkerd::proof(self),
            System::CiliumMesh | System::CiliumGateway => cilium::proof(self, said.is_some()),
            System::ContourGateway => contour::proof(self),
            System::Traefik
            | System::TraefikService
            | System::EnvoyGateway
            | System::Contour
            | System::Istio
            | System::IstioWithoutTelemetry
            | System::IstioGateway(_)
            | System::Kgateway
            | System::NginxGatewayFabric
            | System::Kubernetes
            | System::Other(_) => Proof::default(),
        }
    }

    /// The parent, as an object; `None`: it isn't a Service, or hasn't been read.
    fn service(&self) -> Option<&Value> {
        let (namespace, name) = self.parent.of_service()?;
        self.around.service(namespace, name)
    }

    /// The Service's namespace, as an object.
    fn namespace(&self) -> Option<&Value> {
        let (namespace, _) = self.parent.of_service()?;
        self.around.namespace(namespace)
    }
}

fn refused(why: Option<String>) -> Proof {
    Proof { refused: why, ..Proof::default() }
}
