//! The documents are complete, and the rules about them can be broken.

use super::*;

#[test]
fn every_value_that_a_case_plays_is_cited() {
    let faults: Vec<String> = cases()
        .iter()
        .flat_map(|case| case.faults().into_iter().map(|fault| format!("{}: {fault}", case.name)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_controller_is_cited_and_every_case_is_of_a_controller_in_the_table() {
    let controllers = controllers();
    for (name, controller) in &controllers {
        let values = controller.conditions.iter().chain([name]).chain(controller.presence.keys());
        let values = values.cloned().collect();
        let faults = cite_faults(&controller.cites, &values);
        assert!(faults.is_empty(), "{name}: {}", faults.join("\n"));
    }
    let systems: BTreeSet<&str> = controllers.values().map(|c| c.system.as_str()).collect();
    assert_eq!(systems.len(), controllers.len(), "two controllers of one system");
    for case in cases() {
        assert!(
            systems.contains(case.system()),
            "{}: no such system in controllers.yaml",
            case.name
        );
        for object in &case.played {
            for entry in list(object, "/status/parents") {
                let name = text(entry, "/controllerName");
                let controller = controllers.get(&name);
                let controller = controller.unwrap_or_else(|| panic!("{}: {name}", case.name));
                for condition in list(entry, "/conditions") {
                    let kind = text(condition, "/type");
                    assert!(controller.conditions.contains(&kind), "{}: {name}, {kind}", case.name);
                    // What a table says of all conditions isn't worth more than the cases show.
                    let told = condition.get("observedGeneration").is_some();
                    assert_eq!(controller.tells_generation, told, "{}: {name}, {kind}", case.name);
                }
            }
        }
    }
}

#[test]
fn every_system_has_its_hostile_cases() {
    let mut hostile: BTreeMap<String, BTreeSet<Hostile>> = BTreeMap::new();
    for case in cases() {
        hostile.entry(case.system().to_owned()).or_default().extend(&case.hostile);
    }
    for (system, hostile) in hostile {
        for needed in [
            Hostile::NeverWritten,
            Hostile::ParentMissing,
            Hostile::Leftover,
            Hostile::RefsUnresolved,
        ] {
            assert!(hostile.contains(&needed), "{system}: no case with {needed:?}");
        }
        let old = [Hostile::NoGeneration, Hostile::StaleTrue];
        assert!(old.iter().any(|h| hostile.contains(h)), "{system}: no case with one of {old:?}");
    }
}

#[test]
fn the_table_and_the_cases_agree() {
    for (name, controller) in controllers() {
        let Controller { system, filters, backend_filters, limits, .. } = &controller;
        let cases: Vec<Case> = cases().into_iter().filter(|c| c.system() == *system).collect();
        let hostile = |h: Hostile| cases.iter().any(|c| c.hostile.contains(&h));
        let parents: BTreeSet<ParentKind> = cases
            .iter()
            .flat_map(|c| &c.played)
            .flat_map(|o| list(o, "/status/parents"))
            .filter(|entry| text(entry, "/controllerName") == name)
            .map(|entry| match text(entry, "/parentRef/kind").as_str() {
                "Service" => ParentKind::Service,
                _ => ParentKind::Gateway,
            })
            .collect();
        assert!(parents.is_subset(&controller.parents), "{name}: parents {parents:?}");
        assert_eq!(
            controller.programme.is_some(),
            cases.iter().any(|c| c.expect.programmed.is_some()),
            "{name}: programme"
        );
        if hostile(Hostile::Conflict) {
            assert!(controller.several_routes.is_some(), "{name}: severalRoutes");
        }
        let silent = filters.values().chain(backend_filters.values());
        if silent
            .into_iter()
            .any(|f| matches!(f, Filter::SilentlyDropped | Filter::SilentlyFailing))
        {
            assert!(hostile(Hostile::SilentDrop), "{name}: no case of a filter that is dropped");
        }
        for case in &cases {
            let Some(mirroring) = case.expect.mirroring else { continue };
            let features: BTreeSet<String> = played(&case.played);
            let told = features.contains("HTTPRouteRequestPercentageMirror");
            let read = if told { Mirror::Percent } else { Mirror::Untold };
            assert_eq!(mirroring, read, "{}: mirroring", case.name);
            assert!(!told || controller.tells_features, "{name}: tellsFeatures");
            assert!(!told || controller.mirroring == Mirror::Percent, "{name}: mirroring");
        }
        assert_ne!(controller.mirroring, Mirror::Untold, "{name}: mirroring");
        if controller.parents.contains(&ParentKind::Service) {
            // A Gateway names its class, a Service nothing.
            assert!(!controller.presence.is_empty(), "{name}: presence");
        }
        assert!(controller.matching.contains(&Matches::Header), "{name}: matching");
        assert!(limits.iter().all(|limit| limit.ends_with('.')), "{name}: limits");
    }
}

#[test]
fn a_value_without_a_cite_and_a_cite_without_a_source_are_found() {
    let good = "{repo: owner/name, path: src/a.rs, commit: 0123456789abcdef0123456789abcdef01234567, at: f, says: that is so, covers: [Accepted, example.com/controller]}";
    bad(good, &[]);
    bad(&good.replace("Accepted, ", ""), &["`Accepted` is played, and no cite covers it"]);
    bad(
        &good.replace("controller]", "other]"),
        &[
            "`example.com/controller` is played, and no cite covers it",
            "`example.com/other` is covered, and not played",
        ],
    );
    bad(&good.replace("example.com/controller]", "'*/controller']"), &[]);
    bad(&good.replace("89abcdef01234567", "89"), &["cite of owner/name src/a.rs: commit"]);
    bad(&good.replace("owner/name", "name"), &["cite of name src/a.rs: repo"]);
    bad(&good.replace("src/a.rs", "/src/a.rs"), &["cite of owner/name /src/a.rs: path"]);
    bad(&good.replace("that is so", "so"), &["cite of owner/name src/a.rs: says"]);
    bad(&good.replace("at: f", "at: ''"), &["cite of owner/name src/a.rs: at"]);
}

#[track_caller]
fn bad(cite: &str, faults: &[&str]) {
    let text = format!(
        r#"
about: one cite
cites: [{cite}]
played:
- kind: HTTPRoute
  status:
    parents:
    - controllerName: example.com/controller
      parentRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: public}}
      conditions: [{{type: Accepted, status: "True", reason: Accepted, message: "", observedGeneration: 1}}]
expect: {{accepted: true, generation: told}}
"#
    );
    let case: Case = yaml(&text).unwrap();
    assert_eq!(case.faults(), faults);
    assert!(yaml::<Case>(&text.replace("cites:", "sources:")).is_err(), "cites are no option");
}

#[test]
fn every_kind_of_value_has_to_be_cited() {
    let objects: Vec<Value> = yaml(
        r#"
- kind: GatewayClass
  metadata: {labels: {a.io/label: x}, annotations: {b.io/annotation: y, split.tidegate.dev/cart: "20"}}
  spec: {controllerName: c.io/class}
  status:
    conditions: [{type: D, reason: E, message: F}]
    supportedFeatures: [{name: G}]
    parents:
    - controllerName: h.io/controller
      parentRef: {group: core}
      conditions: [{type: I, reason: J, message: ""}]
"#,
    )
    .unwrap();
    let values = [
        "D",
        "E",
        "F",
        "G",
        "I",
        "J",
        "a.io/label",
        "b.io/annotation",
        "c.io/class",
        "core",
        "h.io/controller",
    ];
    assert_eq!(played(&objects).iter().map(String::as_str).collect::<Vec<_>>(), values);
}
