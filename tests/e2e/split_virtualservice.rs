//! The policy `tidegate-split-virtualservice` in a real API server, with Istio's real definitions, does what `providers` says.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective,
};
use providers::traffic::{Backends, SplitBy, TrafficProvider, VirtualService, change, find};
use rollout::{Condition, Match, Part, Pattern, Shape, Weight};
use serde_json::{Value, json};
use tests::{Cluster, Plane, scenario, wait_for};
use tokio::sync::OnceCell;

const PLANES: &[Plane] = &[Plane::Istio];
const ENOUGH: Duration = Duration::from_secs(30);
const CASES: [&str; 8] =
    ["gateway", "mesh", "entries", "weight", "delegate", "copies", "two-canaries", "managed"];

#[test]
fn the_server_stores_what_is_rendered_and_no_apply_of_the_owner_changes_it() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        for case in CASES {
            let mut written = golden(case)?;
            written["metadata"]["name"] = json!(case);
            let owners = routes.apply(&written).await?;
            ensure!(owners["spec"] == written["spec"], "{case}: no defaults are added: {owners}");

            for shape in run() {
                let live = routes.get(case).await?;
                let wanted = VirtualService.render(&live, &shop(), shape.as_ref());
                let stored = routes.change(&live, shape.as_ref(), SplitBy::Server).await?;
                same(case, &stored, &wanted)?;
                let seen = VirtualService.read(&stored, &shop());
                ensure!(seen.accepted && seen.stored == shape, "{case}: {seen:?}");
                let applied = routes.apply(&written).await?;
                same(case, &applied, &wanted)?;
                let generation = |o: &Value| o["metadata"]["generation"].clone();
                ensure!(generation(&applied) == generation(&stored), "{case}: {applied}");
            }

            let released = routes.get(case).await?;
            ensure!(released["spec"] == owners["spec"], "{case}: {released}");
            ensure!(
                released["metadata"]["annotations"] == owners["metadata"]["annotations"],
                "{case}"
            );
            let managers = released["metadata"]["managedFields"].to_string();
            ensure!(!managers.contains("\"tidegate\""), "{case}: nothing is left: {managers}");
        }
        Ok(())
    })
}

#[test]
fn what_cannot_be_split_is_left_alone_by_both() -> Result<()> {
    let cases = [
        (
            "shared",
            "[{route: [{destination: {host: shop}, weight: 3}, {destination: {host: admin}, weight: 1}]}]",
        ),
        ("heaviest", "[{route: [{destination: {host: shop}, weight: 10000}]}]"),
        ("heavy", "[{route: [{destination: {host: shop}, weight: 10001}]}]"),
        ("zero", "[{route: [{destination: {host: shop}, weight: 0}]}]"),
        ("one", "[{route: [{destination: {host: shop}, weight: 1}]}]"),
        ("negative", "[{route: [{destination: {host: shop}, weight: -5}]}]"),
        ("elsewhere", "[{route: [{destination: {host: shop.other.svc.cluster.local}}]}]"),
        ("outside", "[{route: [{destination: {host: shop.example.com}}]}]"),
        (
            "close",
            "[{route: [{destination: {host: shop.demo.svclocal}}]}, {route: [{destination: {host: shop.demo.svc.}}]}]",
        ),
        (
            "redirect",
            "[{redirect: {uri: /}}, {directResponse: {status: 200}}, {delegate: {name: web}}, {route: [{destination: {host: shop}}]}]",
        ),
        ("nothing", "[]"),
        ("alone", "[{route: [{destination: {host: shop-canary}}]}]"),
        (
            "alone-and-beside",
            "[{route: [{destination: {host: shop-canary}}]}, {route: [{destination: {host: shop}}]}]",
        ),
        (
            "turned",
            "[{route: [{destination: {host: shop-canary}, weight: 10}, {destination: {host: shop}, weight: 90}]}]",
        ),
        (
            "three",
            "[{route: [{destination: {host: shop}, weight: 1}, {destination: {host: shop-canary}, weight: 1}, {destination: {host: shop}, weight: 1}]}]",
        ),
        (
            "two-forms",
            "[{route: [{destination: {host: shop}, weight: 1}, {destination: {host: shop-canary.demo}, weight: 1}]}]",
        ),
        // A pair that somebody made by hand: refused before a run, and split as one if it comes up in the middle of it.
        (
            "by-hand",
            "[{route: [{destination: {host: shop}, weight: 90}, {destination: {host: shop-canary}, weight: 10}]}]",
        ),
        (
            "odd-by-hand",
            "[{route: [{destination: {host: shop}, weight: 777}, {destination: {host: shop-canary}, weight: 5}]}]",
        ),
        (
            "copied-by-hand",
            "[{route: [{destination: {host: shop}}], mirrors: [{destination: {host: a}}, {destination: {host: shop-canary.demo.svc}}, {destination: {host: b}}]}]",
        ),
        ("no-mirrors", "[{route: [{destination: {host: shop}}], mirrors: [], match: []}]"),
        (
            "deprecated",
            "[{route: [{destination: {host: shop}}], mirror: {host: audit}, mirrorPercentage: {value: 3}}]",
        ),
        // No room for testers by the cookie, none for some, and all of it for others.
        (
            "cookies",
            "[{match: [{headers: {cookie: {regex: a=b}}}, {uri: {prefix: /}}, {queryParams: {v: {exact: '1'}}}], route: [{destination: {host: shop}}]}]",
        ),
        (
            "full",
            "[{match: [{headers: {x-beta: {exact: a}, cookie: {prefix: b}}}], route: [{destination: {host: shop}}]}]",
        ),
    ];
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        for (case, entries) in &cases {
            let mut route = golden("gateway")?;
            route["metadata"]["name"] = json!(case);
            route["spec"]["http"] = serde_norway::from_str(entries)?;
            routes.apply(&route).await?;
            for shape in run() {
                let live = routes.get(case).await?;
                let wanted = VirtualService.render(&live, &shop(), shape.as_ref());
                // Also where `change` has nothing to write, because the annotations alone change nothing.
                let annotations = json!({"metadata": {"annotations": annotations(shape.as_ref())}});
                same(case, &routes.patch(case, &annotations).await?, &wanted)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_value_that_is_none_of_ours_changes_nothing_and_is_told() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("gateway")?;
        route["metadata"]["name"] = json!("values");
        routes.apply(&route).await?;
        let put = async |key: &str, value: &str| {
            let mut all = json!({"split.tidegate.dev/shop": "10", "match.tidegate.dev/shop": null, "mirror.tidegate.dev/shop": null});
            all[format!("{key}.tidegate.dev/shop")] = json!(value);
            let stored = routes.patch("values", &json!({"metadata": {"annotations": all}})).await?;
            let trouble = VirtualService.read(&stored, &shop()).trouble.unwrap_or_default();
            ensure!(trouble.contains(&format!("is `{value}`, need")), "{trouble}");
            Ok(stored)
        };
        for value in ["", "101", "-1", "007", "ten", "50%", " 5", "5.0", "99999999999999999999"] {
            let stored: Value = put("split", value).await?;
            ensure!(stored["spec"] == route["spec"], "`{value}`: {stored}");
        }
        let plain = VirtualService.render(
            &routes.get("values").await?,
            &shop(),
            Some(&Shape::weight(Weight::new(10).context("10")?)),
        );
        for (key, value) in [
            ("match", "header x-user"),
            ("match", "body exact a b"),
            ("match", "header prefix a b"),
            ("mirror", "x"),
            ("mirror", "101"),
        ] {
            let stored = put(key, value).await?;
            ensure!(stored["spec"] == plain["spec"], "{key} `{value}`: {stored}");
        }
        routes.change(&routes.get("values").await?, None, SplitBy::Server).await?;
        ensure!(routes.get("values").await?["spec"] == route["spec"]);
        Ok(())
    })
}

#[test]
fn names_that_a_pointer_would_trip_over_and_values_with_spaces_are_kept() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("entries")?;
        route["metadata"]["name"] = json!("odd-names");
        let live = routes.apply(&route).await?;
        let matches = vec![
            one(&[(Part::Header, "x~1", exact("a  b")), (Part::Query, "a/b~", regex("^[a b]+$"))]),
            one(&[(Part::Query, "empty", exact("")), (Part::Header, "x-'\"", exact("'\\\""))]),
        ];
        let shape = Shape { matches, ..Shape::default() };
        let wanted = VirtualService.render(&live, &shop(), Some(&shape));
        same("odd-names", &routes.change(&live, Some(&shape), SplitBy::Server).await?, &wanted)?;
        routes.change(&routes.get("odd-names").await?, None, SplitBy::Server).await?;
        ensure!(routes.get("odd-names").await?["spec"] == route["spec"]);
        Ok(())
    })
}

/// What an expression may cost is limited, and beyond it the server would leave the object unsplit.
#[test]
fn a_large_object_with_many_testers_is_within_the_budget() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("gateway")?;
        route["metadata"]["name"] = json!("large");
        let entry = |i: usize| {
            let matches: Vec<_> = (0..4)
                .map(|j| json!({"uri": {"prefix": format!("/a/long/path/{i}/{j}")}, "method": {"exact": "GET"}}))
                .collect();
            json!({"name": format!("entry-{i}"), "match": matches, "route": [{"destination": {"host": "shop.demo.svc.cluster.local", "port": {"number": 80}}}], "timeout": "3s"})
        };
        route["spec"]["http"] = (0..40).map(entry).collect();
        let mut live = routes.apply(&route).await?;
        let tester = |i: usize| {
            one(&[
                (Part::Header, "x-user", exact(&format!("a-user-with-a-name-{i}"))),
                (Part::Cookie, "canary", exact("always")),
            ])
        };
        let shape = Shape {
            weight: Weight::new(10).context("10")?,
            matches: (0..8).map(tester).collect(),
            mirror: Weight::new(5),
        };
        for shape in [Some(&shape), None] {
            let wanted = VirtualService.render(&live, &shop(), shape);
            live = routes.change(&live, shape, SplitBy::Server).await?;
            same("large", &live, &wanted)?;
        }
        Ok(())
    })
}

#[test]
fn an_entry_that_the_owner_adds_in_the_middle_of_a_run_is_split_and_released_with_the_others()
-> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("gateway")?;
        route["metadata"]["name"] = json!("edited");
        let live = routes.apply(&route).await?;
        let shape = Shape { matches: testers(), ..Shape::weight(Weight::new(25).context("25")?) };
        routes.change(&live, Some(&shape), SplitBy::Server).await?;

        route["spec"]["http"] = json!([
            {"match": [{"uri": {"prefix": "/new"}}], "route": [{"destination": {"host": "shop"}, "weight": 100}]},
            route["spec"]["http"][0],
        ]);
        route["spec"]["http"][1]["timeout"] = json!("3s");
        let live = routes.apply(&route).await?;
        let entries = live["spec"]["http"].as_array().context("entries")?;
        ensure!(entries.len() == 4, "{live}");
        ensure!(entries[1]["route"][1]["weight"] == 2500, "{live}");
        ensure!(entries[2]["timeout"] == "3s" && entries[3]["timeout"] == "3s", "{live}");
        ensure!(find(&VirtualService, [&live], &shop()).refused.is_empty(), "{live}");
        let released = routes.change(&live, None, SplitBy::Server).await?;
        ensure!(released["spec"] == route["spec"], "{released}");
        Ok(())
    })
}

#[test]
fn entries_that_are_written_by_ourselves_are_the_same_and_leave_no_trace() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("entries")?;
        route["metadata"]["name"] = json!("by-us");
        routes.apply(&route).await?;
        for shape in run() {
            let live = routes.get("by-us").await?;
            let wanted = VirtualService.render(&live, &shop(), shape.as_ref());
            same("by-us", &routes.change(&live, shape.as_ref(), SplitBy::Us).await?, &wanted)?;
        }
        let owned = |live: &Value| live["metadata"]["managedFields"].to_string();
        let live = routes.get("by-us").await?;
        ensure!(owned(&live).contains("\"tidegate\""), "{live}");
        let live = routes.change(&live, None, SplitBy::Us).await?;
        ensure!(!owned(&live).contains("\"tidegate\""), "{live}");

        route["spec"]["http"][4]["timeout"] = json!("3s");
        let unforced = PatchParams::apply("owner");
        let stored = routes.api.patch("by-us", &unforced, &Patch::Apply(&route)).await?;
        ensure!(stored.data["spec"] == route["spec"], "{stored:?}");
        Ok(())
    })
}

/// A whole run, with a way back in the middle.
fn run() -> Vec<Option<Shape>> {
    let of = |percent: u8, matches: Vec<Match>, mirror: Option<u8>| {
        let weight = Weight::new(percent).unwrap_or_default();
        Some(Shape { weight, matches, mirror: mirror.and_then(Weight::new) })
    };
    let first = || testers().into_iter().take(1).collect::<Vec<_>>();
    vec![
        of(0, vec![], None),
        of(0, testers(), None),
        of(0, testers(), Some(10)),
        of(10, first(), Some(100)),
        of(33, testers(), None),
        of(99, vec![], Some(1)),
        of(100, first(), None),
        of(50, vec![], None),
        of(0, vec![], None),
        None,
    ]
}

fn testers() -> Vec<Match> {
    vec![
        one(&[(Part::Header, "x-beta", exact("1"))]),
        one(&[(Part::Cookie, "beta", exact("on")), (Part::Query, "v", regex("2|3"))]),
    ]
}

fn one(conditions: &[(Part, &str, Pattern)]) -> Match {
    let of = |(part, name, value): &(Part, &str, Pattern)| Condition {
        part: *part,
        name: (*name).to_owned(),
        value: value.clone(),
    };
    Match::new(conditions.iter().map(of).collect()).expect("a condition")
}

fn exact(value: &str) -> Pattern {
    Pattern::Exact(value.to_owned())
}

fn regex(value: &str) -> Pattern {
    Pattern::Regex(value.to_owned())
}

/// What `change` writes of this shape, whatever is there.
fn annotations(shape: Option<&Shape>) -> Value {
    let mut bare = json!({"metadata": {"name": "a", "namespace": "demo", "resourceVersion": "1"}});
    let none = json!({"split.tidegate.dev/shop": null, "match.tidegate.dev/shop": null, "mirror.tidegate.dev/shop": null});
    bare = VirtualService.render(&bare, &shop(), shape);
    let mut all = none;
    for (key, value) in bare["metadata"]["annotations"].as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    all
}

/// The objects of a namespace, written as the controller writes: strictly, and under its name.
struct Routes {
    api: Api<DynamicObject>,
}

impl Routes {
    /// Of the golden files' namespace, with the policy in force.
    async fn of(cluster: &Cluster) -> Result<Self> {
        static READY: OnceCell<()> = OnceCell::const_new();
        let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
        let api = Api::namespaced_with(cluster.client(), "demo", &ApiResource::from_gvk(&kind));
        let routes = Self { api };
        READY.get_or_try_init(|| routes.prepare(cluster)).await?;
        Ok(routes)
    }

    async fn prepare(&self, cluster: &Cluster) -> Result<()> {
        cluster.namespace("demo").await?;
        let policy = repository().join("deploy/policies/split-virtualservice.yaml");
        cluster.kubectl(&["apply", "-f", &policy.to_string_lossy()]).await?;
        let mut probe = golden("gateway")?;
        probe["metadata"]["name"] = json!("probe");
        self.apply(&probe).await?;
        wait_for("the policy to be in force", ENOUGH, async || {
            let annotation =
                json!({"metadata": {"annotations": {"split.tidegate.dev/shop": "10"}}});
            let params = PatchParams { dry_run: true, ..PatchParams::default() };
            let stored = self.api.patch("probe", &params, &Patch::Merge(&annotation)).await?;
            let all = stored.data["spec"]["http"][0]["route"].as_array().map(Vec::len);
            Ok((all == Some(2)).then_some(()))
        })
        .await
    }

    async fn get(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.api.get(name).await?)?)
    }

    /// As the owner's tool does, by force.
    async fn apply(&self, route: &Value) -> Result<Value> {
        let name = route["metadata"]["name"].as_str().context("a name")?;
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("owner").force()
        };
        let stored = self.api.patch(name, &params, &Patch::Apply(route)).await;
        Ok(serde_json::to_value(stored.with_context(|| format!("applying {name}"))?)?)
    }

    async fn change(&self, live: &Value, shape: Option<&Shape>, by: SplitBy) -> Result<Value> {
        let patch = change(&VirtualService, live, &shop(), shape, by)?;
        let name = live["metadata"]["name"].as_str().context("a name")?;
        let patch = patch.with_context(|| format!("nothing to write at {shape:?}: {live}"))?;
        self.patch(name, &patch).await
    }

    async fn patch(&self, name: &str, patch: &Value) -> Result<Value> {
        let params = PatchParams {
            field_manager: Some("tidegate".to_owned()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let stored = self.api.patch(name, &params, &Patch::Merge(patch)).await;
        Ok(serde_json::to_value(stored.with_context(|| format!("patching {name}: {patch}"))?)?)
    }
}

fn same(case: &str, stored: &Value, wanted: &Value) -> Result<()> {
    let told = |route: &Value| (route["spec"].clone(), route["metadata"]["annotations"].clone());
    ensure!(told(stored) == told(wanted), "{case}: stored {stored}\nrendered {wanted}");
    Ok(())
}

fn golden(case: &str) -> Result<Value> {
    let file = repository().join("providers/golden/virtual-service").join(case).join("route.yaml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(serde_norway::from_str(&text)?)
}

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn shop() -> Backends {
    Backends {
        namespace: "demo".to_owned(),
        service: "shop".to_owned(),
        canary: "shop-canary".to_owned(),
    }
}
