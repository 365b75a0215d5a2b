//! The policy `tidegate-split` in a real API server does what `providers` says, and real gateways accept it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective,
};
use providers::traffic::{
    Backends, GrpcRoute, HttpRoute, Observed, SplitBy, TrafficProvider, change, find,
};
use rollout::{Condition, Match, Part, Pattern, Shape, Weight};
use serde_json::{Value, json};
use tests::{App, Cluster, Plane, scenario, wait_for};
use tokio::sync::OnceCell;

const PLANES: &[Plane] = &[Plane::Traefik, Plane::EnvoyGateway];
const ENOUGH: Duration = Duration::from_secs(30);
const KINDS: [(&dyn TrafficProvider, &str); 2] =
    [(&HttpRoute, "http-route"), (&GrpcRoute, "grpc-route")];

#[test]
fn the_server_stores_what_is_rendered_and_no_apply_of_the_owner_changes_it() -> Result<()> {
    scenario(PLANES, async |cluster| {
        for (provider, folder) in KINDS {
            let routes = Routes::of(cluster, provider).await?;
            for (case, mut written) in goldens(folder)? {
                written["metadata"]["name"] = json!(case);
                // Its owner doesn't exist, and would take it along.
                written["metadata"].as_object_mut().context("metadata")?.remove("ownerReferences");
                let owners = routes.apply(&written).await?;
                ensure!(
                    owners["spec"] == written["spec"],
                    "{case}: the golden file has all defaults: {owners}"
                );
                for shape in run() {
                    let live = routes.get(&case).await?;
                    let wanted = provider.render(&live, &shop(), shape.as_ref());
                    let stored = routes.change(&live, shape.as_ref(), SplitBy::Server).await?;
                    same(&case, &stored, &wanted)?;
                    let applied = routes.apply(&written).await?;
                    same(&case, &applied, &wanted)?;
                    let generation = |route: &Value| route["metadata"]["generation"].clone();
                    ensure!(generation(&applied) == generation(&stored), "{case}: {applied}");
                }
                let released = routes.get(&case).await?;
                ensure!(released["spec"] == owners["spec"], "{case}: {released}");
                let annotations = |route: &Value| route["metadata"]["annotations"].clone();
                ensure!(annotations(&released) == annotations(&owners), "{case}");
                let managers = released["metadata"]["managedFields"].to_string();
                ensure!(
                    !managers.contains("\"tidegate\""),
                    "{case}: nothing of ours is left: {managers}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn what_cannot_be_split_is_left_alone_by_both() -> Result<()> {
    let pair =
        |stable: u32, canary: u32| json!([backend("shop", stable), backend("shop-canary", canary)]);
    let elsewhere = json!({"name": "shop", "namespace": "other", "port": 80});
    let import = json!({"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": "shop"});
    let cases = [
        ("shared", json!([backend("shop", 3), backend("admin", 1)])),
        ("heaviest", json!([backend("shop", 10_000)])),
        ("heavy", json!([backend("shop", 10_001)])),
        ("none", json!([backend("shop", 0)])),
        ("elsewhere", json!([elsewhere])),
        ("import", json!([import])),
        ("alone", json!([backend("shop-canary", 1)])),
        ("turned", json!([backend("shop-canary", 10), backend("shop", 90)])),
        ("three", json!([backend("shop", 1), backend("shop-canary", 1), backend("shop", 1)])),
        ("nothing", json!([])),
        // A pair that somebody made by hand: refused before a run, and split as one if it comes up in the middle of it.
        ("by-hand", pair(90, 10)),
        ("odd-by-hand", pair(7, 5)),
        ("heavy-by-hand", pair(1_000_000, 1_000_000)),
    ];
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster, &HttpRoute).await?;
        for (case, backends) in &cases {
            let mut route = golden("http-route", "plain")?;
            route["metadata"]["name"] = json!(case);
            route["spec"]["rules"][0]["backendRefs"] = backends.clone();
            routes.apply(&route).await?;
            for share in [Some(25), Some(100), Some(0), None] {
                let live = routes.get(case).await?;
                let wanted = HttpRoute.render(&live, &shop(), weight(share).as_ref());
                // Also where `change` has nothing to write, because the annotation alone changes nothing.
                let percent = share.map(|share| share.to_string());
                let annotation =
                    json!({"metadata": {"annotations": {"split.tidegate.dev/shop": percent}}});
                same(case, &routes.patch(case, &annotation).await?, &wanted)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_value_that_is_none_of_ours_changes_nothing_and_is_told() -> Result<()> {
    let long = "x".repeat(9_000);
    let wide = format!("header exact x {}", "\u{e4}".repeat(4_097));
    let many = vec!["header exact x 1"; 40].join("\t");
    let names: Vec<_> = (0..17).map(|i| format!("header exact x-{i} 1")).collect();
    let values = [
        ("split", vec!["", "101", "-1", "007", "ten", "50%", " 5", "5.0", "99999999999999999999"]),
        ("mirror", vec!["", "0", "101", "-1", "007", "ten", "1 ", "5\n", "99999999999999999999"]),
        (
            "match",
            vec![
                "",
                "\n",
                "\t",
                " ",
                "header",
                "header exact x",
                "header exact x ",
                "header exact  1",
                "header exact x\ty 1",
                "header exact x: 1",
                "body exact x 1",
                "header like x 1",
                "header exact x 1\t",
                "header exact x 1\n",
                "header exact x 1\r\nheader exact x 2\r",
                "header exact x 1\n\nheader exact y 1",
                "header exact x 1\theader exact X 2",
                "query exact x 1\tquery exact X 2",
                "query exact x 1\tquery exact x 1",
                "header regex x (\nquery regex y [",
                "header exact x  1  2 ",
                "header exact x \"'\\{}$(x)~/\u{0}\u{1F6A6}",
                "header exact `^$~|' 1",
                &long,
                &wide,
                &many,
            ],
        ),
    ];
    let name = format!("header exact {} 1", "n".repeat(257));
    let names = names.join("\t");
    let more = [("match", vec![name.as_str(), names.as_str()])];
    // Whatever a route's annotations say is done in every rendering, of no matter which Service.
    let nobody = Backends::new("demo", "nobody")?;
    scenario(PLANES, async |cluster| {
        for (provider, folder) in KINDS {
            let routes = Routes::of(cluster, provider).await?;
            let mut route = golden(folder, "plain")?;
            route["metadata"]["name"] = json!("values");
            let mut live = routes.apply(&route).await?;
            for (key, values) in values.iter().chain(&more) {
                for value in values {
                    let mut said = json!({"split.tidegate.dev/shop": "25"});
                    said[format!("{key}.tidegate.dev/shop")] = json!(value);
                    let annotation = json!({"metadata": {"annotations": said}});
                    let stored = routes.patch("values", &annotation).await;
                    let stored = stored.with_context(|| format!("{key} `{value}`"))?;
                    live["metadata"]["annotations"] = stored["metadata"]["annotations"].clone();
                    let rendered = provider.render(&live, &nobody, None);
                    same(&format!("{key} `{value}`"), &stored, &rendered)?;
                    let seen = provider.read(&stored, &shop());
                    if *key != "match" {
                        let trouble = seen.trouble.unwrap_or_default();
                        ensure!(trouble.contains(&format!("is `{value}`, need ")), "{trouble}");
                    }
                    live = routes.change(&stored, None, SplitBy::Server).await?;
                    ensure!(live["spec"] == route["spec"], "{key} `{value}`: {live}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_route_at_the_limits_is_split_and_never_costs_more_than_the_server_allows() -> Result<()> {
    let header = |i: usize| json!({"type": "Exact", "name": format!("X-Owner-{i}"), "value": "1"});
    let query = |i: usize| json!({"type": "Exact", "name": format!("q{i}"), "value": "1"});
    let matches = |n: usize, headers: usize, queries: usize| -> Value {
        let one = |i: usize| {
            json!({
                "path": {"type": "PathPrefix", "value": format!("/{i}")},
                "headers": (0..headers).map(header).collect::<Vec<_>>(),
                "queryParams": (0..queries).map(query).collect::<Vec<_>>(),
            })
        };
        (0..n).map(one).collect()
    };
    let rules = |n: usize, matches: &Value| -> Value {
        let rule = json!({"matches": matches, "backendRefs": [backend("shop", 1)]});
        vec![rule; n].into()
    };
    let lines = |n: usize, headers: usize, queries: usize| -> Vec<Match> {
        let conditions = |line: usize| {
            let all = |part, n: usize| {
                let name = move |i: usize| match part {
                    Part::Query => format!("t{i}"),
                    Part::Header | Part::Cookie => format!("x-tester-{i}"),
                };
                (0..n).map(move |i| Condition {
                    part,
                    name: name(i),
                    value: Pattern::Regex(format!("line-{line}")),
                })
            };
            all(Part::Header, headers).chain(all(Part::Query, queries)).collect()
        };
        (0..n).filter_map(|line| Match::new(conditions(line))).collect()
    };
    let cases = [
        // Exactly full.
        ("one-rule-64-matches", rules(1, &matches(64, 0, 0)), lines(1, 1, 0), true),
        ("one-rule-8-lines", rules(1, &matches(14, 8, 8)), lines(8, 8, 8), true),
        ("one-rule-15-lines", rules(1, &matches(8, 8, 8)), lines(15, 8, 8), true),
        ("8-rules", rules(8, &matches(8, 15, 15)), lines(1, 1, 1), true),
        ("8-rules-wide-lines", rules(8, &matches(8, 1, 1)), lines(1, 15, 15), true),
        // One too many: split all the same, without testers.
        ("one-match-too-many", rules(1, &matches(15, 8, 8)), lines(8, 1, 0), false),
        ("one-rule-too-many", rules(2, &matches(1, 0, 0)), lines(8, 1, 0), false),
        ("one-header-too-many", rules(1, &matches(8, 16, 0)), lines(1, 1, 0), false),
        ("full", rules(16, &matches(8, 8, 8)), lines(8, 8, 2), false),
        ("two-full-rules", rules(2, &matches(64, 8, 8)), lines(8, 8, 2), false),
    ];
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster, &HttpRoute).await?;
        for (case, rules, matches, fits) in cases {
            let mut route = golden("http-route", "plain")?;
            route["metadata"]["name"] = json!(case);
            route["spec"]["rules"] = rules;
            let mut live = routes.apply(&route).await?;
            let shape = Shape { matches, mirror: Weight::new(100), ..at(50) };
            let obstacle = HttpRoute.obstacle(&live, &shop(), &shape);
            ensure!(obstacle.is_none() == fits, "{case}: {obstacle:?}");
            for shape in [Some(&shape), Some(&at(0)), Some(&shape), None] {
                let wanted = HttpRoute.render(&live, &shop(), shape);
                live = routes.change(&live, shape, SplitBy::Server).await?;
                same(case, &live, &wanted)?;
                same(case, &routes.apply(&route).await?, &wanted)?;
                let split = live["spec"]["rules"][0]["backendRefs"].as_array().map(Vec::len);
                ensure!(split == Some(if shape.is_some() { 2 } else { 1 }), "{case}: {live}");
            }
        }
        Ok(())
    })
}

#[test]
fn two_services_of_a_route_have_their_own_testers_and_go_one_by_one() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster, &HttpRoute).await?;
        let (shop, cart) = (shop(), Backends::new("demo", "cart")?);
        let mut route = golden("http-route", "two-canaries")?;
        route["metadata"]["name"] = json!("both");
        let mut live = routes.apply(&route).await?;
        let testers = Shape { mirror: Weight::new(5), ..testers(20) };
        let steps = [
            (&cart, Some(&testers)),
            (&shop, Some(&testers)),
            (&cart, Some(&at(10))),
            (&cart, None),
            (&shop, None),
        ];
        for (i, (backends, shape)) in steps.into_iter().enumerate() {
            let wanted = HttpRoute.render(&live, backends, shape);
            let patch = at_once(&HttpRoute, &live, backends, shape, SplitBy::Server);
            live = routes.patch("both", &patch).await?;
            same(&format!("step {i}"), &live, &wanted)?;
            ensure!(HttpRoute.stored(&live, backends).shape.as_ref() == shape, "{i}: {live}");
        }
        Ok(())
    })
}

#[test]
fn a_rule_that_the_owner_adds_in_the_middle_of_a_run_is_split_and_released_with_the_others()
-> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster, &HttpRoute).await?;
        let mut route = golden("http-route", "plain")?;
        route["metadata"]["name"] = json!("edited");
        let live = routes.apply(&route).await?;
        let shape = Shape { mirror: Weight::new(10), ..testers(25) };
        routes.change(&live, Some(&shape), SplitBy::Server).await?;

        route["spec"]["rules"] = json!([
            {"matches": [{"path": {"type": "PathPrefix", "value": "/new"}}], "backendRefs": [backend("shop", 2)]},
            route["spec"]["rules"][0],
        ]);
        route["spec"]["rules"][1]["timeouts"] = json!({"request": "3s"});
        let live = routes.apply(&route).await?;
        let weights = |rule: usize| {
            [0, 1].map(|i| live["spec"]["rules"][rule]["backendRefs"][i]["weight"].clone())
        };
        ensure!(
            weights(0) == [json!(150), json!(50)] && weights(1) == [json!(75), json!(25)],
            "{live}"
        );
        let rules = live["spec"]["rules"].as_array().context("rules")?;
        let edited = rules.iter().filter(|rule| rule["timeouts"]["request"] == "3s");
        ensure!(edited.count() == 1 + shape.matches.len(), "the testers' as well: {live}");
        ensure!(rules.len() == 2 + 2 * shape.matches.len(), "{live}");
        ensure!(find(&HttpRoute, [&live], &shop()).refused.is_empty(), "{live}");
        ensure!(HttpRoute.stored(&live, &shop()).shape == Some(shape), "{live}");

        let released = routes.change(&live, None, SplitBy::Server).await?;
        ensure!(released["spec"] == route["spec"], "{released}");
        Ok(())
    })
}

#[test]
fn rules_that_are_written_by_ourselves_are_the_same_and_leave_no_trace() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster, &HttpRoute).await?;
        let mut route = golden("http-route", "another-service")?;
        route["metadata"]["name"] = json!("by-us");
        routes.apply(&route).await?;
        for shape in run() {
            let live = routes.get("by-us").await?;
            let wanted = HttpRoute.render(&live, &shop(), shape.as_ref());
            let stored = routes.change(&live, shape.as_ref(), SplitBy::Us).await?;
            same("by-us", &stored, &wanted)?;
        }
        let owned = |live: &Value| live["metadata"]["managedFields"].to_string();
        let live = routes.get("by-us").await?;
        ensure!(owned(&live).contains("\"tidegate\""), "{live}");
        let patch = change(&HttpRoute, &live, &shop(), None, SplitBy::Us)?;
        let live = routes.patch("by-us", &patch.context("our name to take out")?).await?;
        ensure!(!owned(&live).contains("\"tidegate\""), "{live}");
        ensure!(change(&HttpRoute, &live, &shop(), None, SplitBy::Us)?.is_none(), "{live}");

        route["spec"]["rules"][0]["timeouts"] = json!({"request": "3s"});
        let unforced = PatchParams::apply("owner");
        let stored = routes.api.patch("by-us", &unforced, &Patch::Apply(&route)).await?;
        ensure!(stored.data["spec"] == route["spec"], "{stored:?}");
        Ok(())
    })
}

#[test]
fn traefik_accepts_each_share_and_says_what_is_missing() -> Result<()> {
    scenario(PLANES, async |cluster| on_a_gateway(cluster, Plane::Traefik, "split-traefik").await)
}

#[test]
fn envoy_gateway_accepts_each_share_and_says_what_is_missing() -> Result<()> {
    scenario(PLANES, async |cluster| {
        on_a_gateway(cluster, Plane::EnvoyGateway, "split-envoy").await
    })
}

async fn on_a_gateway(cluster: &Cluster, gateway: Plane, namespace: &str) -> Result<()> {
    Routes::of(cluster, &HttpRoute).await?;
    cluster
        .deploy(&App::new("shop", namespace).host(gateway, &format!("{namespace}.test")))
        .await?;
    let (_, name) = gateway.gateway().context("a gateway")?;
    let route = format!("shop-{name}");
    let routes = Routes { provider: &HttpRoute, api: api(cluster, &HttpRoute, namespace) };
    let backends = Backends::new(namespace, "shop")?;
    let until = async |what: &str, so: &dyn Fn(&Observed) -> bool| {
        wait_for(what, ENOUGH, async || {
            let seen = HttpRoute.read(&routes.get(&route).await?, &backends);
            ensure!(so(&seen), "seen: {seen:?}");
            Ok(Some(()))
        })
        .await
    };
    let write = async |share: Option<u8>| {
        let live = routes.get(&route).await?;
        let patch = change(&HttpRoute, &live, &backends, weight(share).as_ref(), SplitBy::Server)?;
        routes.patch(&route, &patch.context("something to write")?).await
    };
    let told = |seen: &Observed, words: &str| {
        seen.trouble.as_ref().is_some_and(|trouble| trouble.contains(words))
    };
    let untroubled = |seen: &Observed| seen.accepted && seen.trouble.is_none();
    until("the route at rest", &|seen| seen.stored.is_none() && untroubled(seen)).await?;

    write(Some(10)).await?;
    until("a canary without a Service to be refused", &|seen| {
        seen.stored == weight(Some(10))
            && !seen.accepted
            && told(seen, "ResolvedRefs False BackendNotFound")
    })
    .await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop-canary", "namespace": namespace},
        "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80, "targetPort": 9898}]},
    });
    cluster.apply(&service.to_string()).await?;
    until("a canary without pods to be accepted", &|seen| {
        seen.accepted
            && match gateway {
                Plane::EnvoyGateway => told(seen, "BackendsAvailable False EndpointsNotFound"),
                _ => seen.trouble.is_none(),
            }
    })
    .await?;

    for share in [0, 50, 100, 0] {
        // Answered before the gateway can have heard of it.
        let seen = HttpRoute.read(&write(Some(share)).await?, &backends);
        ensure!(seen.stored == weight(Some(share)) && !seen.accepted, "an old answer: {seen:?}");
        until("the share to be accepted", &|seen| seen.accepted).await?;
    }
    write(None).await?;
    until("the route at rest again", &|seen| seen.stored.is_none() && untroubled(seen)).await
}

/// The routes of a kind and a namespace, written as the controller writes: strictly, and under its name.
struct Routes {
    provider: &'static dyn TrafficProvider,
    api: Api<DynamicObject>,
}

impl Routes {
    /// Of the golden files' namespace, with the policy in force.
    async fn of(cluster: &Cluster, provider: &'static dyn TrafficProvider) -> Result<Self> {
        static READY: OnceCell<()> = OnceCell::const_new();
        let probes = Self { provider: &HttpRoute, api: api(cluster, &HttpRoute, "demo") };
        READY.get_or_try_init(|| probes.prepare(cluster)).await?;
        Ok(Self { provider, api: api(cluster, provider, "demo") })
    }

    async fn prepare(&self, cluster: &Cluster) -> Result<()> {
        cluster.namespace("demo").await?;
        let policy = repository().join("deploy/policies/split.yaml");
        cluster.kubectl(&["apply", "-f", &policy.to_string_lossy()]).await?;
        let mut probe = golden("http-route", "plain")?;
        probe["metadata"]["name"] = json!("probe");
        self.apply(&probe).await?;
        wait_for("the policy to be in force", ENOUGH, async || {
            let annotation =
                json!({"metadata": {"annotations": {"split.tidegate.dev/shop": "10"}}});
            let params = PatchParams { dry_run: true, ..PatchParams::default() };
            let stored = self.api.patch("probe", &params, &Patch::Merge(&annotation)).await?;
            let backends = stored.data["spec"]["rules"][0]["backendRefs"].as_array().map(Vec::len);
            Ok((backends == Some(2)).then_some(()))
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

    /// All at once, since no gateway will ever accept these routes.
    async fn change(&self, live: &Value, shape: Option<&Shape>, by: SplitBy) -> Result<Value> {
        let name = live["metadata"]["name"].as_str().context("a name")?;
        self.patch(name, &at_once(self.provider, live, &shop(), shape, by)).await
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

/// The patch that the controller would write if the gateway had every rule already.
fn at_once(
    provider: &dyn TrafficProvider,
    live: &Value,
    backends: &Backends,
    shape: Option<&Shape>,
    by: SplitBy,
) -> Value {
    let wanted = provider.render(live, backends, shape);
    let annotations = ["split", "match", "mirror"].map(|key| {
        let key = format!("{key}.tidegate.dev/{}", backends.service);
        let value = wanted["metadata"]["annotations"][&key].clone();
        (key, value)
    });
    let version = &live["metadata"]["resourceVersion"];
    let mut patch = json!({"metadata": {"resourceVersion": version}});
    patch["metadata"]["annotations"] = annotations.into_iter().collect();
    if by == SplitBy::Us {
        patch["spec"] = json!({"rules": wanted["spec"]["rules"]});
    }
    patch
}

fn same(case: &str, stored: &Value, wanted: &Value) -> Result<()> {
    let told = |route: &Value| (route["spec"].clone(), route["metadata"]["annotations"].clone());
    ensure!(told(stored) == told(wanted), "{case}: stored {stored}\nrendered {wanted}");
    Ok(())
}

fn api(cluster: &Cluster, provider: &dyn TrafficProvider, namespace: &str) -> Api<DynamicObject> {
    let kind = provider.kind();
    let kind = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    Api::namespaced_with(cluster.client(), namespace, &ApiResource::from_gvk(&kind))
}

/// Every golden route of a kind, by its folder.
fn goldens(folder: &str) -> Result<Vec<(String, Value)>> {
    let cases = fs::read_dir(repository().join("providers/golden").join(folder))?;
    let names = cases.map(|case| Ok(case?.file_name().to_string_lossy().into_owned()));
    names
        .map(|name: Result<String>| name.and_then(|n| Ok((n.clone(), golden(folder, &n)?))))
        .collect()
}

fn golden(folder: &str, case: &str) -> Result<Value> {
    let file = repository().join("providers/golden").join(folder).join(case).join("route.yaml");
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

/// A whole run, with a way back in the middle, and all that a route can be told on the way.
fn run() -> Vec<Option<Shape>> {
    let ten = Weight::new(10);
    let shapes = [
        testers(0),
        Shape { mirror: ten, ..testers(0) },
        Shape { mirror: ten, ..at(0) },
        Shape { mirror: Some(Weight::FULL), ..at(10) },
        at(33),
        testers(99),
        Shape { matches: testers(0).matches.into_iter().take(1).collect(), ..at(100) },
        testers(50),
        at(0),
    ];
    shapes.into_iter().map(Some).chain([None]).collect()
}

/// With testers of every kind that both kinds of routes can have.
fn testers(percent: u8) -> Shape {
    let one = |part, name: &str, value| Condition { part, name: name.to_owned(), value };
    let exact = |value: &str| Pattern::Exact(value.to_owned());
    let header = one(Part::Header, "x-tester", Pattern::Regex("a|b \\d+".to_owned()));
    let cookie = one(Part::Cookie, "can.ary", exact("al;ways~/(1)"));
    let kinds = [vec![one(Part::Header, "x-beta", exact("1 \"2\""))], vec![header, cookie]];
    Shape { matches: kinds.into_iter().filter_map(Match::new).collect(), ..at(percent) }
}

fn at(percent: u8) -> Shape {
    Shape::weight(Weight::new(percent).unwrap_or_default())
}

fn weight(percent: Option<u8>) -> Option<Shape> {
    percent.map(at)
}

fn backend(name: &str, weight: u32) -> Value {
    json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight})
}
