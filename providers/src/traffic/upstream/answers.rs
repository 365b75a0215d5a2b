//! What is made of every case, by the code that the controller runs.

use std::fmt::Write;

use rollout::Weight;

use super::*;
use crate::traffic::{
    Around, Backends, Capabilities, Features, GrpcRoute, HttpRoute, LinkerdRoute, Matching,
    Mirroring, Parent, System, TrafficProvider, Verification, mesh,
};

#[test]
fn every_case_comes_out_as_it_says() {
    let mut faults = Vec::new();
    let mut sentences = String::new();
    for case in cases() {
        let Some(route) = case.played.first().filter(|o| is_route(o)) else { continue };
        let provider = provider(route);
        let backends = Backends::new(text(route, "/metadata/namespace"), "cart").unwrap();
        let around = Around::of(case.played[1..].iter().cloned());
        let proof = provider.proof(route, &backends, &around);
        let programmed = proof.programmed.map(Weight::percent);
        let answer = provider.answer(route);
        let seen = provider.read(route, &backends).proven(proof.clone());
        let Expect { accepted, because, words, complaint, programmed: shown, .. } = &case.expect;
        let trouble = seen.trouble.clone().unwrap_or_default();
        let mut wrong = |what: &str| faults.push(format!("{}: {what}: {seen:?}", case.name));
        if Some(seen.accepted) != *accepted {
            wrong("accepted");
        }
        if programmed != *shown {
            wrong("programmed");
        }
        for words in words.iter().chain(complaint) {
            if !trouble.contains(words.as_str()) {
                wrong("words");
            }
        }
        if accepted == &Some(true) && complaint.is_none() && seen.trouble.is_some() {
            wrong("complaint");
        }
        let by_answer = answer.refused.is_some();
        let fits = match because {
            None => true,
            Some(Because::NoAnswer) => by_answer && trouble.contains(": no answer yet;"),
            Some(Because::OldAnswer) => trouble.contains("no answer yet to generation 7"),
            Some(Because::PartlyRefused) => by_answer,
            Some(Because::Refused) => words.is_some(),
            Some(Because::Bypassed | Because::NeverSaysNo | Because::OldProgramme) => {
                !by_answer && proof.refused.is_some()
            }
        };
        if !fits {
            wrong("because");
        }
        let says = if trouble.is_empty() { "taken" } else { &trouble };
        let taken = if seen.accepted && !trouble.is_empty() { " (taken)" } else { "" };
        writeln!(sentences, "{}{taken}\n    {says}", case.name).unwrap();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    golden("answers.txt", &sentences);
}

#[test]
fn the_canarys_service_carries_what_a_mesh_goes_by() {
    let mut seen = 0;
    for case in cases().iter().filter(|c| !c.expect.carries.is_empty()) {
        let service = case.played.iter().find(|o| text(o, "/kind") == "Service").unwrap();
        for key in &case.expect.carries {
            // All labels are: see the controller's `canary_service`.
            let label = service.pointer("/metadata/labels").is_some_and(|l| l.get(key).is_some());
            assert!(
                if label { mesh::is_waypoint(key) } else { mesh::carried(key) },
                "{}: {key}",
                case.name
            );
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
    assert!(!mesh::carried("external-dns.alpha.kubernetes.io/hostname"));
    assert!(!mesh::carried("service.beta.kubernetes.io/aws-load-balancer-type"));
}

#[test]
fn a_class_says_what_it_can_do_or_nothing() {
    for case in cases() {
        let Some(mirroring) = case.expect.mirroring else { continue };
        let class = case.played.iter().find(|o| text(o, "/kind") == "GatewayClass").unwrap();
        let told = Features::of(class);
        assert_eq!(told.is_none(), mirroring == Mirror::Untold, "{}", case.name);
        let system = System::of_gateway(&text(class, "/spec/controllerName"));
        let able = system.capabilities();
        assert_eq!(able.clone().with_features(told.as_ref()), able, "{}", case.name);
    }
}

#[test]
fn what_a_system_can_do_is_what_the_table_says() {
    for (name, controller) in controllers() {
        for parent in &controller.parents {
            let system = match parent {
                ParentKind::Gateway => System::of_gateway(&name),
                ParentKind::Service => System::of_service(&name),
            };
            assert!(System::KNOWN.contains(&system), "{name}: {system:?} has a name");
            let Capabilities { weights, matching, mirroring, verification, .. } =
                system.capabilities();
            let has = |m| controller.matching.contains(&m);
            let table = Matching {
                header: has(Matches::Header),
                header_regex: has(Matches::HeaderRegex),
                query: has(Matches::Query),
            };
            let mirror = match controller.mirroring {
                Mirror::No => Mirroring::No,
                Mirror::Whole => Mirroring::Whole,
                Mirror::Percent | Mirror::Untold => Mirroring::Percent,
            };
            let shows = match controller.programme {
                Some(_) => Verification::Programmed,
                None => Verification::Accepted,
            };
            assert!(weights, "{name}");
            assert_eq!((matching, mirroring, verification), (table, mirror, shows), "{name}");
            assert_eq!(system.tells_generation(), controller.tells_generation, "{name}");
        }
    }
}

#[test]
fn all_that_a_case_plays_beside_a_route_is_asked_for() {
    for case in cases() {
        let Some(route) = case.played.first().filter(|o| is_route(o)) else { continue };
        let wanted = provider(route).evidence(route);
        // A route that isn't there says nothing about who looks after it.
        for object in &case.played[1..] {
            let (kind, namespace) = (text(object, "/kind"), text(object, "/metadata/namespace"));
            let name = text(object, "/metadata/name");
            let asked = wanted.iter().any(|w| {
                w.kind.kind == kind
                    && w.namespace.as_deref() == Some(&namespace)
                    && w.name.as_deref().is_none_or(|n| n == name)
            });
            // Of a Service that the route has no more as a parent, nothing is.
            let left = case.name == "cilium/leftover-of-a-service" && namespace == "shop";
            // The programme of another parent in the same namespace.
            assert!(asked || left, "{}: {kind} {namespace}/{name}", case.name);
        }
    }
}

#[test]
fn who_looks_after_a_service_is_told_by_its_marks_before_anybody_has_answered() {
    let service = |metadata: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: cart, {metadata}}}}}"
        );
        yaml::<Value>(&text).unwrap()
    };
    let namespace = |metadata: &str| {
        yaml::<Value>(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, {metadata}}}}}"
        ))
        .unwrap()
    };
    let behind = |controller: Option<&str>, objects: &[Value]| {
        mesh::behind("shop", "cart", controller, &Around::of(objects.iter().cloned()))
    };
    let waypoint = "labels: {istio.io/use-waypoint: w}";
    let ambient = "labels: {istio.io/dataplane-mode: ambient}";
    let injected = "annotations: {linkerd.io/inject: enabled}";
    assert_eq!(behind(None, &[service(waypoint)]), Ok(System::IstioAmbient));
    assert_eq!(behind(None, &[service(""), namespace(ambient)]), Ok(System::IstioAmbient));
    assert_eq!(behind(None, &[service(""), namespace(injected)]), Ok(System::Linkerd));
    // An answer is worth more than a mark, unless it could be from before.
    let (istio, linkerd) = ("istio.io/gateway-controller", "linkerd.io/policy-controller");
    assert_eq!(
        behind(Some(istio), &[service(""), namespace(injected)]),
        Ok(System::of_service(istio))
    );
    assert_eq!(behind(Some(linkerd), &[service(waypoint)]), Ok(System::IstioAmbient));
    assert_eq!(behind(Some(istio), &[service(waypoint)]), Ok(System::IstioAmbient));
    assert_eq!(behind(Some(linkerd), &[service("")]), Ok(System::Linkerd));
    assert_eq!(
        behind(None, &[service(waypoint), namespace(injected)]).unwrap_err(),
        "service cart and namespace shop have the marks of several meshes (istio-ambient, linkerd), and none has answered for the route yet; \
         take the marks of all but one off"
    );
    assert!(behind(None, &[service("")]).unwrap_err().contains("no mesh has answered"));
}

fn provider(route: &Value) -> &'static dyn TrafficProvider {
    let own = text(route, "/apiVersion").starts_with("policy.linkerd.io/");
    let provider: &dyn TrafficProvider = match text(route, "/kind").as_str() {
        "GRPCRoute" => &GrpcRoute,
        _ if own => &LinkerdRoute,
        _ => &HttpRoute,
    };
    let parents = provider.parents(route);
    assert!(parents.iter().all(|p| !matches!(p, Parent::Of(_))));
    provider
}

fn golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/upstream").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        stored,
        text,
        "{} is stale: UPDATE_GOLDEN=1 cargo test -p providers",
        file.display()
    );
}
