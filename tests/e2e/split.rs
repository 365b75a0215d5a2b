//! The policy `tidegate-split` in a real API server does what `providers` says, and real gateways accept it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective,
};
use providers::traffic::{Backends, HttpRoute, Observed, SplitBy, TrafficProvider, change, find};
use rollout::{Shape, Weight};
use serde_json::{Value, json};
use tests::{App, Cluster, Plane, scenario, wait_for};
use tokio::sync::OnceCell;

const PLANES: &[Plane] = &[Plane::Traefik, Plane::EnvoyGateway];
const ENOUGH: Duration = Duration::from_secs(30);
/// A whole run, with a way back in the middle.
const SHARES: [Option<u8>; 8] =
    [Some(0), Some(10), Some(33), Some(99), Some(100), Some(50), Some(0), None];

#[test]
fn the_server_stores_what_is_rendered_and_no_apply_of_the_owner_changes_it() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        for case in
            ["plain", "another-service", "filters", "weight", "hosts", "two-canaries", "managed"]
        {
            let mut written = golden(case)?;
            written["metadata"]["name"] = json!(case);
            // Its owner doesn't exist, and would take it along.
            written["metadata"].as_object_mut().context("metadata")?.remove("ownerReferences");
            let owners = routes.apply(&written).await?;
            ensure!(
                owners["spec"] == written["spec"],
                "{case}: the golden file has all defaults: {owners}"
            );

            for share in SHARES {
                let live = routes.get(case).await?;
                let wanted = HttpRoute.render(&live, &shop(), shape(share).as_ref());
                let stored = routes.change(&live, share, SplitBy::Server).await?;
                same(case, &stored, &wanted)?;
                let applied = routes.apply(&written).await?;
                same(case, &applied, &wanted)?;
                ensure!(
                    applied["metadata"]["generation"] == stored["metadata"]["generation"],
                    "{case}"
                );
            }

            let released = routes.get(case).await?;
            ensure!(released["spec"] == owners["spec"], "{case}: {released}");
            ensure!(
                released["metadata"]["annotations"] == owners["metadata"]["annotations"],
                "{case}"
            );
            let managers = released["metadata"]["managedFields"].to_string();
            ensure!(
                !managers.contains("\"tidegate\""),
                "{case}: nothing of ours is left: {managers}"
            );
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
        let routes = Routes::of(cluster).await?;
        for (case, backends) in &cases {
            let mut route = golden("plain")?;
            route["metadata"]["name"] = json!(case);
            route["spec"]["rules"][0]["backendRefs"] = backends.clone();
            routes.apply(&route).await?;
            for share in [Some(25), Some(100), Some(0), None] {
                let live = routes.get(case).await?;
                let wanted = HttpRoute.render(&live, &shop(), shape(share).as_ref());
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
fn a_value_that_is_no_share_changes_nothing_and_is_told() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("plain")?;
        route["metadata"]["name"] = json!("values");
        routes.apply(&route).await?;
        for value in ["", "101", "-1", "007", "ten", "50%", " 5", "5.0", "99999999999999999999"] {
            let annotation =
                json!({"metadata": {"annotations": {"split.tidegate.dev/shop": value}}});
            let stored = routes.patch("values", &annotation).await?;
            ensure!(stored["spec"] == route["spec"], "`{value}`: {stored}");
            let seen = HttpRoute.read(&stored, &shop());
            let trouble = seen.trouble.unwrap_or_default();
            ensure!(trouble.contains(&format!("is `{value}`, need 0 to 100")), "{trouble}");

            let live = routes.change(&stored, Some(25), SplitBy::Server).await?;
            let seen = HttpRoute.read(&live, &shop());
            ensure!(seen.stored == shape(Some(25)), "{seen:?}");
            routes.change(&live, None, SplitBy::Server).await?;
        }
        Ok(())
    })
}

#[test]
fn a_rule_that_the_owner_adds_in_the_middle_of_a_run_is_split_and_released_with_the_others()
-> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("plain")?;
        route["metadata"]["name"] = json!("edited");
        let live = routes.apply(&route).await?;
        routes.change(&live, Some(25), SplitBy::Server).await?;

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
        ensure!(live["spec"]["rules"][1]["timeouts"]["request"] == "3s", "{live}");
        ensure!(find(&HttpRoute, [&live], &shop()).refused.is_empty(), "{live}");

        let released = routes.change(&live, None, SplitBy::Server).await?;
        ensure!(released["spec"] == route["spec"], "{released}");
        Ok(())
    })
}

#[test]
fn rules_that_are_written_by_ourselves_are_the_same_and_leave_no_trace() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let routes = Routes::of(cluster).await?;
        let mut route = golden("another-service")?;
        route["metadata"]["name"] = json!("by-us");
        routes.apply(&route).await?;
        for share in SHARES {
            let live = routes.get("by-us").await?;
            let wanted = HttpRoute.render(&live, &shop(), shape(share).as_ref());
            same("by-us", &routes.change(&live, share, SplitBy::Us).await?, &wanted)?;
        }
        let owned = |live: &Value| live["metadata"]["managedFields"].to_string();
        let live = routes.get("by-us").await?;
        ensure!(owned(&live).contains("\"tidegate\""), "{live}");
        let live = routes.change(&live, None, SplitBy::Us).await?;
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
    Routes::of(cluster).await?;
    cluster
        .deploy(&App::new("shop", namespace).host(gateway, &format!("{namespace}.test")))
        .await?;
    let (_, name) = gateway.gateway().context("a gateway")?;
    let route = format!("shop-{name}");
    let routes = Routes { api: api(cluster, namespace) };
    let backends = Backends::new(namespace, "shop")?;
    let provider = HttpRoute;
    let until = async |what: &str, so: &dyn Fn(&Observed) -> bool| {
        wait_for(what, ENOUGH, async || {
            let seen = provider.read(&routes.get(&route).await?, &backends);
            ensure!(so(&seen), "seen: {seen:?}");
            Ok(Some(()))
        })
        .await
    };
    let split = async |share: Option<u8>| {
        let live = routes.get(&route).await?;
        let patch = change(&provider, &live, &backends, shape(share).as_ref(), SplitBy::Server)?;
        routes.patch(&route, &patch.context("something to write")?).await
    };
    let told = |seen: &Observed, words: &str| {
        seen.trouble.as_ref().is_some_and(|trouble| trouble.contains(words))
    };
    let untroubled = |seen: &Observed| seen.accepted && seen.trouble.is_none();
    until("the route at rest", &|seen| seen.stored.is_none() && untroubled(seen)).await?;

    split(Some(10)).await?;
    until("a canary without a Service to be refused", &|seen| {
        seen.stored == shape(Some(10))
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
        let seen = provider.read(&split(Some(share)).await?, &backends);
        ensure!(seen.stored == shape(Some(share)) && !seen.accepted, "an old answer: {seen:?}");
        until("the share to be accepted", &|seen| seen.accepted).await?;
    }
    split(None).await?;
    until("the route at rest again", &|seen| seen.stored.is_none() && untroubled(seen)).await
}

/// The routes of a namespace, written as the controller writes: strictly, and under its name.
struct Routes {
    api: Api<DynamicObject>,
}

impl Routes {
    /// Of the golden files' namespace, with the policy in force.
    async fn of(cluster: &Cluster) -> Result<Self> {
        static READY: OnceCell<()> = OnceCell::const_new();
        let routes = Self { api: api(cluster, "demo") };
        READY.get_or_try_init(|| routes.prepare(cluster)).await?;
        Ok(routes)
    }

    async fn prepare(&self, cluster: &Cluster) -> Result<()> {
        cluster.namespace("demo").await?;
        let policy = repository().join("deploy/policies/split.yaml");
        cluster.kubectl(&["apply", "-f", &policy.to_string_lossy()]).await?;
        let mut probe = golden("plain")?;
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

    async fn change(&self, live: &Value, share: Option<u8>, by: SplitBy) -> Result<Value> {
        let patch = change(&HttpRoute, live, &shop(), shape(share).as_ref(), by)?;
        let name = live["metadata"]["name"].as_str().context("a name")?;
        self.patch(name, &patch.with_context(|| format!("nothing to write at {share:?}: {live}"))?)
            .await
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

fn api(cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    Api::namespaced_with(cluster.client(), namespace, &ApiResource::from_gvk(&kind))
}

fn golden(case: &str) -> Result<Value> {
    let file = repository().join("providers/golden/http-route").join(case).join("route.yaml");
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

fn shape(percent: Option<u8>) -> Option<Shape> {
    percent.and_then(Weight::new).map(Shape::weight)
}

fn backend(name: &str, weight: u32) -> Value {
    json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight})
}
