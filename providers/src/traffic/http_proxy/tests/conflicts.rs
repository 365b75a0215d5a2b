use super::*;

#[test]
fn another_root_of_the_same_host_is_named() {
    let named = |change: &dyn Fn(&mut Value)| {
        let mut other = owners("root");
        other["metadata"] = json!({"name": "old", "namespace": "legacy"});
        change(&mut other);
        let found = HttpProxy.conflicts(&owners("root"), &[&other], &shop());
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let sentence = "route demo/web, spec.virtualhost.fqdn: route legacy/old has host shop.example.com as well, and Contour takes neither; give one of them another host, or let one include the other";
    assert_eq!(named(&|_| {}), [sentence]);
    let none: [&str; 0] = [];
    assert_eq!(named(&|p| p["spec"]["virtualhost"]["fqdn"] = json!("b.example.com")), none);
    // Another Contour's.
    assert_eq!(named(&|p| p["spec"]["ingressClassName"] = json!("internal")), none);
    assert_eq!(named(&|p| p["metadata"] = owners("root")["metadata"].clone()), none);
    assert_eq!(HttpProxy.conflicts(&owners("child"), &[&owners("child")], &shop()), []);
}

#[test]
fn a_canary_whose_services_are_ours_is_named() {
    let theirs = Backends::new("demo", "shop-canary").unwrap();
    let proxy = split::render(&owners("root"), &theirs, shape(10).as_ref());
    assert_eq!(HttpProxy.conflicts(&proxy, &[], &shop()).len(), 1);
}

#[test]
fn a_proxy_of_ours_is_applied_only_where_it_differs_and_has_one_host_or_none() {
    let stored = live(made());
    let split = render(&stored, Some(&everybody(25)));
    let current = |managed: &Managed, live: &Value| {
        managed.is_current(&HttpProxy, &HttpProxy.managed(managed).unwrap(), live)
    };
    assert!(current(&managed(), &stored) && current(&managed(), &split));
    let mut child = managed();
    child.hosts.clear();
    assert!(!current(&child, &stored));

    let refused = |change: &dyn Fn(&mut Managed)| {
        let mut other = managed();
        change(&mut other);
        HttpProxy.managed(&other).unwrap_err()
    };
    assert_eq!(
        refused(&|m| m.hosts.push("b.example.com".into())),
        "spec.traffic.route.hosts: an HTTPProxy has one, and here are 2; leave all but one out, or write a proxy for each that includes demo/shop"
    );
    let gateway = GatewayRef { name: "public".into(), namespace: None, section_name: None };
    assert!(refused(&|m| m.gateways.push(gateway.clone())).contains("leave them out"));
    assert!(refused(&|m| m.mesh = true).contains("mesh"));
}
