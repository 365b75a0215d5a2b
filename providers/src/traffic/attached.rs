//! Policies that are attached to the user's Service by its name: the canary's has another one.

use super::around::{Around, ObjectKind, Wanted};
use super::{Backends, System, object};

/// A kind of policy with `spec.targetRefs`.
struct Attached {
    kind: ObjectKind,
    /// What the canary's requests are without.
    without: &'static str,
}

/// Standard since Gateway API 1.4.
const BACKEND_TLS: Attached = Attached {
    kind: ObjectKind {
        group: "gateway.networking.k8s.io",
        version: "v1",
        kind: "BackendTLSPolicy",
        plural: "backendtlspolicies",
    },
    without: "requests to the canary would be sent without TLS",
};
const AUTHORIZATION: Attached = Attached {
    kind: ObjectKind {
        group: "security.istio.io",
        version: "v1",
        kind: "AuthorizationPolicy",
        plural: "authorizationpolicies",
    },
    without: "requests to the canary's own name would get past it",
};
const AUTHENTICATION: Attached = Attached {
    kind: ObjectKind {
        group: "security.istio.io",
        version: "v1",
        kind: "RequestAuthentication",
        plural: "requestauthentications",
    },
    without: "requests to the canary's own name would get past it",
};
const BACKEND_CONFIG: Attached = Attached {
    kind: ObjectKind {
        group: "gateway.kgateway.dev",
        version: "v1alpha1",
        kind: "BackendConfigPolicy",
        plural: "backendconfigpolicies",
    },
    without: "its TLS, time-outs and limits would not hold for the canary",
};

fn kinds(system: &System) -> &'static [Attached] {
    match system {
        System::IstioAmbient => &[BACKEND_TLS, AUTHORIZATION, AUTHENTICATION],
        System::Kgateway => &[BACKEND_TLS, BACKEND_CONFIG],
        System::Traefik
        | System::EnvoyGateway
        | System::IstioGateway(_)
        | System::CiliumGateway
        | System::ContourGateway
        | System::NginxGatewayFabric
        | System::Other(_) => &[BACKEND_TLS],
        // They don't know these policies: meshes have mTLS among their proxies, and others say it in objects of their own.
        System::IstioMesh(_)
        | System::Linkerd
        | System::CiliumMesh
        | System::TraefikService
        | System::Contour
        | System::Istio
        | System::IstioWithoutTelemetry
        | System::Kubernetes => &[],
    }
}

/// What has to be read for [`uncovered`].
pub fn policies(system: &System, backends: &Backends) -> Vec<Wanted> {
    kinds(system).iter().map(|a| Wanted::all(a.kind, &backends.namespace)).collect()
}

/// A policy that names the user's Service, while none of its kind names the canary's.
pub fn uncovered(system: &System, backends: &Backends, around: &Around) -> Option<String> {
    kinds(system).iter().find_map(|attached| {
        let names = |policy: &serde_json::Value, service: &str| {
            let one = policy.pointer("/spec/targetRef");
            object::list(policy, "/spec/targetRefs").iter().chain(one).any(|target| {
                object::text(target, "/kind") == "Service" && object::text(target, "/name") == service
            })
        };
        if around.all(attached.kind).any(|policy| names(policy, &backends.canary)) {
            return None;
        }
        let policy = around.all(attached.kind).find(|policy| names(policy, &backends.service))?;
        Some(format!(
            "{} {}/{}, spec.targetRefs: names service {} and not {}, so {}; add {{group: \"\", kind: Service, name: {}}} to it",
            attached.kind.kind.to_lowercase(),
            object::namespace(policy),
            object::name(policy),
            backends.service,
            backends.canary,
            attached.without,
            backends.canary,
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_policy_that_names_the_service_has_to_name_its_canary_too() {
        let backends = Backends::new("shop", "cart").expect("short");
        let policy = |targets: Value| {
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
                "metadata": {"namespace": "shop", "name": "tls"}, "spec": {"targetRefs": targets},
            })
        };
        let target = |name: &str| json!({"group": "", "kind": "Service", "name": name});
        let found = |system: &System, targets: &[Value]| {
            let around = Around::of(targets.iter().cloned().map(policy));
            uncovered(system, &backends, &around)
        };
        let alone = json!([target("cart")]);
        assert_eq!(
            found(&System::EnvoyGateway, std::slice::from_ref(&alone)).as_deref(),
            Some(
                "backendtlspolicy shop/tls, spec.targetRefs: names service cart and not cart-canary, so requests to the canary would be sent \
                 without TLS; add {group: \"\", kind: Service, name: cart-canary} to it"
            )
        );
        let both = json!([target("cart"), target("cart-canary")]);
        assert_eq!(found(&System::EnvoyGateway, &[both]), None);
        let apart = [alone.clone(), json!([target("cart-canary")])];
        assert_eq!(found(&System::EnvoyGateway, &apart), None);
        assert_eq!(found(&System::EnvoyGateway, &[json!([target("cart-of-another")])]), None);
        assert_eq!(found(&System::Linkerd, &[alone]), None);
        assert_eq!(policies(&System::Linkerd, &backends), []);
        assert_eq!(policies(&System::Kgateway, &backends).len(), 2);
    }
}
