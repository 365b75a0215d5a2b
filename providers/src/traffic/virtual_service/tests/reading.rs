//! What is stored, and what istiod says.

use super::*;

#[test]
fn shares_are_read_by_host_wherever_the_destinations_stand() {
    let mut route = render(&owners("gateway"), weight(25).as_ref());
    let entries = route["spec"]["http"].as_array_mut().unwrap();
    entries[0]["route"].as_array_mut().unwrap().reverse();
    entries.insert(0, yaml("route: [{destination: {host: new}}]"));
    let seen = VirtualService.read(&route, &shop());
    assert_eq!((seen.stored, seen.accepted), (weight(25), true));
}

#[test]
fn an_entry_that_lags_behind_is_named_and_the_largest_share_counts() {
    let shape = Shape { matches: testers(), mirror: Weight::new(5), ..weight(25).unwrap() };
    let split = render(&owners("entries"), Some(&shape));
    let reading = |change: &dyn Fn(&mut Value)| {
        let mut route = split.clone();
        change(&mut route);
        let seen = VirtualService.read(&route, &shop());
        assert!(!seen.accepted, "{route}");
        (seen.stored.map_or(0, |s| s.weight.percent()), seen.trouble.unwrap_or_default())
    };
    let tail = "is the entry of a shape that can't be split, or the policy tidegate-split-virtualservice not in force?";
    let (share, trouble) = reading(&|r| {
        r["spec"]["http"][3]["route"].as_array_mut().unwrap().truncate(1);
    });
    assert_eq!(share, 25);
    assert_eq!(
        trouble,
        format!(
            "route demo/web, spec.http[3] (api): gives shop-canary 0 of 1 where annotation split.tidegate.dev/shop says 25 %; {tail}"
        )
    );
    let (share, trouble) = reading(&|r| r["spec"]["http"][6]["route"][1]["weight"] = json!(75));
    assert_eq!(share, 50);
    assert!(trouble.contains("spec.http[6]: gives shop-canary 75 of 150"), "{trouble}");

    let gone = |place: &str| {
        format!(
            "route demo/web, {place}: the requests that shop-canary gets by its own rule, or copies of, aren't as the annotations beside split.tidegate.dev/shop say; {tail}"
        )
    };
    let without_testers = |r: &mut Value| drop(r["spec"]["http"].as_array_mut().unwrap().remove(2));
    assert_eq!(reading(&without_testers), (25, gone("spec.http[2] (api)")));
    let without_copies =
        |r: &mut Value| drop(r["spec"]["http"][3].as_object_mut().unwrap().remove("mirrors"));
    assert_eq!(reading(&without_copies), (25, gone("spec.http[3] (api)")));

    // Testers that nobody asked for are told as what they are: requests without end.
    let unsaid = |r: &mut Value| {
        let annotations = r["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove("match.tidegate.dev/shop");
        annotations["split.tidegate.dev/shop"] = json!("0");
    };
    assert_eq!(reading(&unsaid).0, 100);
    let garbled = |r: &mut Value| {
        r["metadata"]["annotations"]["split.tidegate.dev/shop"] = json!("025");
    };
    assert_eq!(
        reading(&garbled),
        (100, "route demo/web: annotation split.tidegate.dev/shop is `025`, need 0 to 100".into())
    );
}

/// On the way back an entry without the canary is as good as one that gives it 0: nothing keeps the run from ending.
#[test]
fn an_entry_that_was_never_split_does_not_hold_up_the_way_back() {
    let mut route = owners("gateway");
    route["metadata"]["annotations"] = json!({"split.tidegate.dev/shop": "0"});
    let seen = VirtualService.read(&route, &shop());
    assert_eq!((seen.stored, seen.accepted, seen.trouble), (weight(0), true, None));
}

#[test]
fn a_shape_that_has_no_room_any_more_is_told() {
    let mut route = owners("gateway");
    let copies = Shape { mirror: Weight::new(5), ..Shape::default() };
    route["spec"]["http"][0]["mirror"] = json!({"host": "audit"});
    let seen = VirtualService.read(&render(&route, Some(&copies)), &shop());
    assert!(!seen.accepted && seen.trouble.is_some_and(|t| t.contains("spec.http[0].mirror")));
}

#[test]
fn istiods_analysis_counts_where_it_is_on_and_about_this_generation() {
    let reading = |status: Value| {
        let mut route = live(owners("gateway"));
        route["status"] = status;
        let answer = VirtualService.answer(&route);
        (answer.refused.unwrap_or_default(), answer.complaint.unwrap_or_default())
    };
    let message = |level: &str| json!({"level": level, "type": {"code": "IST0101", "name": "ReferencedResourceNotFound"}, "documentationUrl": "https://istio.io/IST0101/"});
    let said = "route demo/web, status.validationMessages: IST0101 ReferencedResourceNotFound; see https://istio.io/IST0101/".to_owned();
    let none = String::new;
    assert_eq!(reading(json!({})), (none(), none()));
    assert_eq!(reading(json!({"validationMessages": [message("INFO")]})), (none(), none()));
    assert_eq!(
        reading(json!({"validationMessages": [message("WARNING")]})),
        (none(), said.clone())
    );
    for generation in [json!("3"), json!(3)] {
        let status =
            json!({"observedGeneration": generation, "validationMessages": [message("ERROR")]});
        assert_eq!(reading(status), (said.clone(), none()));
    }
    let old = json!({"observedGeneration": "2", "validationMessages": [message("ERROR")]});
    assert_eq!(reading(old), (none(), none()));
}

#[test]
fn an_object_of_ours_is_known_and_as_it_should_be_also_while_it_is_split() {
    let (managed, wanted) = (managed(), ours(&managed()));
    let current = |route: &Value| managed.is_current(&VirtualService, &wanted, route);
    let mut route = live(wanted.clone());
    assert!(current(&route) && current(&render(&route, weight(25).as_ref())));
    assert_eq!(find([&route]).routes.len(), 1);
    route["spec"]["hosts"] = json!(["other"]);
    assert!(managed.owns(&route) && !current(&route));
}

#[test]
fn an_object_of_ours_leaves_out_what_nobody_asked_for() {
    let spec = |mesh: bool, gateways: bool| {
        let mut wanted = Managed { mesh, ..managed() };
        if !gateways {
            wanted.gateways.clear();
            wanted.hosts.clear();
        }
        ours(&wanted)["spec"].clone()
    };
    let through = json!({"route": [{"destination": {"host": "shop", "port": {"number": 80}}}]});
    assert_eq!(
        spec(false, true),
        json!({"hosts": ["shop.example.com"], "gateways": ["istio-system/web"], "http": [through]})
    );
    assert_eq!(
        spec(true, false),
        json!({"hosts": ["shop"], "gateways": ["mesh"], "http": [{"route": [{"destination": {"host": "shop"}}]}]})
    );
}

#[test]
fn what_istio_has_no_word_for_is_told() {
    let mut wanted = managed();
    wanted.gateways[0].section_name = Some("http".into());
    assert_eq!(
        VirtualService.managed(&wanted).unwrap_err(),
        "gateways[0].sectionName: http, and a VirtualService can't choose one of a Gateway's servers; leave it out"
    );
    let wanted = Managed { hosts: vec![], ..managed() };
    assert_eq!(
        VirtualService.managed(&wanted).unwrap_err(),
        "hosts: none, and a VirtualService on a Gateway needs them; name some, or `*` for all"
    );
}
