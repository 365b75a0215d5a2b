//! The policies `tidegate-split-httpproxy` and `tidegate-split-traefikservice` in a real API server do what `providers` says.

use std::fs;

use anyhow::{Context, Result, ensure};
use providers::traffic::{HttpProxy, SplitBy, TraefikService, TrafficProvider};
use rollout::{Condition, Match, Part, Pattern, Shape, Weight};
use serde_json::{Value, json};
use tests::{Cluster, scenario, wait_for};

use crate::objects::{Objects, repository, same};
use crate::{ENOUGH, PLANES};

/// A kind of route, and how its golden files are called.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    provider: &'static dyn TrafficProvider,
    folder: &'static str,
    file: &'static str,
    cases: &'static [&'static str],
    /// A whole run, with a way back in the middle.
    shapes: fn() -> Vec<Option<Shape>>,
    /// An object with these services, and where they are.
    of: fn(Value) -> Value,
    services: &'static str,
}

pub(crate) const HTTP_PROXY: Kind = Kind {
    provider: &HttpProxy,
    folder: "http-proxy",
    file: "proxy.yaml",
    cases: &["root", "child", "weight", "several", "everything", "managed"],
    shapes: everybody,
    of: |services| json!({"virtualhost": {"fqdn": "a.example.com"}, "routes": [{"services": services}]}),
    services: "/spec/routes/0/services",
};

pub(crate) const TRAEFIK_SERVICE: Kind = Kind {
    provider: &TraefikService,
    folder: "traefik-service",
    file: "service.yaml",
    cases: &["plain", "weight", "sticky", "managed"],
    shapes: shares,
    of: |services| json!({"weighted": {"services": services}}),
    services: "/spec/weighted/services",
};

#[test]
fn http_proxies_are_stored_as_rendered_and_no_apply_of_the_owner_changes_it() -> Result<()> {
    as_rendered(HTTP_PROXY, "proxies")
}

#[test]
fn traefik_services_are_stored_as_rendered_and_no_apply_of_the_owner_changes_it() -> Result<()> {
    as_rendered(TRAEFIK_SERVICE, "services")
}

fn as_rendered(kind: Kind, namespace: &str) -> Result<()> {
    scenario(PLANES, async |cluster| {
        let objects = kind.ready(cluster, namespace).await?;
        for case in kind.cases {
            let written = kind.golden(case, namespace)?;
            let owners = objects.apply(&written).await?;
            ensure!(owners["spec"] == written["spec"], "{case}: has all defaults: {owners}");
            for shape in (kind.shapes)() {
                let stored = objects.change(case, shape.as_ref(), SplitBy::Server).await?;
                let applied = objects.apply(&written).await?;
                same(case, &applied, &stored)?;
                let generation = |o: &Value| o["metadata"]["generation"].clone();
                ensure!(generation(&applied) == generation(&stored), "{case}: {applied}");
            }
            let released = objects.get(case).await?;
            same(case, &released, &owners)?;
            let managers = released["metadata"]["managedFields"].to_string();
            ensure!(!managers.contains("\"tidegate\""), "{case}: nothing of ours: {managers}");
        }
        Ok(())
    })
}

#[test]
fn http_proxies_of_another_shape_are_left_alone_by_both() -> Result<()> {
    let mirror = |name: &str| json!({"name": name, "port": 80, "mirror": true});
    left_alone(
        HTTP_PROXY,
        "other-proxies",
        &[
            ("mirrored", json!([mirror("shadow"), service("shop", None)])),
            ("copies", json!([service("admin", None), mirror("shop")])),
            ("turned", json!([service("shop-canary", Some(10)), service("shop", Some(90))])),
        ],
    )
}

#[test]
fn traefik_services_of_another_shape_are_left_alone_by_both() -> Result<()> {
    let with = |field: &str, value: &str| {
        let mut service = service("shop", None);
        service[field] = json!(value);
        service
    };
    left_alone(
        TRAEFIK_SERVICE,
        "other-services",
        &[
            ("elsewhere", json!([with("namespace", "other")])),
            ("at-home", json!([with("namespace", "other-services")])),
            ("named", json!([with("kind", "TraefikService")])),
        ],
    )
}

/// What can't be split, and what somebody made by hand: refused before a run, and treated the same by both if it comes up in one.
fn left_alone(kind: Kind, namespace: &str, more: &[(&str, Value)]) -> Result<()> {
    let pair = |stable, canary| json!([service("shop", stable), service("shop-canary", canary)]);
    let mut cases = vec![
        ("shared", json!([service("shop", Some(3)), service("admin", Some(1))])),
        ("heaviest", json!([service("shop", Some(10_000))])),
        ("heavy", json!([service("shop", Some(10_001))])),
        ("none", json!([service("shop", Some(0))])),
        ("alone", json!([service("shop-canary", None)])),
        (
            "three",
            json!([service("shop", None), service("shop-canary", None), service("shop", None)]),
        ),
        ("by-hand", pair(Some(90), Some(10))),
        ("odd-by-hand", pair(Some(7), Some(5))),
        ("without-weights", pair(None, None)),
        ("zeros", pair(Some(0), Some(0))),
        ("heavy-by-hand", pair(Some(1_000_000), Some(1_000_000))),
        ("nothing", json!([])),
    ];
    cases.extend_from_slice(more);
    scenario(PLANES, async |cluster| {
        let objects = kind.ready(cluster, namespace).await?;
        for (case, services) in &cases {
            let object = kind.object(case, namespace, &(kind.of)(services.clone()));
            objects.apply(&object).await?;
            for share in [Some(25), Some(100), Some(0), None] {
                let live = objects.get(case).await?;
                let shape = share.and_then(Weight::new).map(Shape::weight);
                let wanted = kind.provider.render(&live, objects.backends(), shape.as_ref());
                // Also where `change` has nothing to write, because the annotation alone changes nothing.
                let percent = share.map(|share| share.to_string());
                let annotation =
                    json!({"metadata": {"annotations": {"split.tidegate.dev/shop": percent}}});
                same(case, &objects.patch(case, &annotation, false).await?, &wanted)?;
            }
        }
        Ok(())
    })
}

#[test]
fn values_that_are_none_of_ours_change_nothing_and_are_told() -> Result<()> {
    scenario(PLANES, async |cluster| {
        for (kind, namespace) in [(HTTP_PROXY, "proxy-values"), (TRAEFIK_SERVICE, "service-values")]
        {
            let objects = kind.ready(cluster, namespace).await?;
            let spec = (kind.of)(json!([service("shop", None)]));
            let live = objects.apply(&kind.object("values", namespace, &spec)).await?;
            ensure!(live["spec"] == spec, "{live}");
            for value in ["", "101", "-1", "007", "ten", "50%", " 5", "5.0", "99999999999999999999"]
            {
                let annotation =
                    json!({"metadata": {"annotations": {"split.tidegate.dev/shop": value}}});
                let stored = objects.patch("values", &annotation, false).await?;
                ensure!(stored["spec"] == spec, "`{value}`: {stored}");
                let trouble = kind.provider.read(&stored, objects.backends()).trouble;
                let trouble = trouble.unwrap_or_default();
                ensure!(trouble.contains(&format!("is `{value}`, need 0 to 100")), "{trouble}");
            }
            objects.change("values", None, SplitBy::Server).await?;
        }
        Ok(())
    })
}

#[test]
fn lines_that_are_none_of_ours_are_no_testers_and_refuse_nobody() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let objects = HTTP_PROXY.ready(cluster, "lines").await?;
        let spec = (HTTP_PROXY.of)(json!([service("shop", None)]));
        objects.apply(&HTTP_PROXY.object("lines", "lines", &spec)).await?;
        for value in [
            "",
            "x",
            "header x-user",
            "header like a b",
            "body exact a b",
            "header exact a b\n\nheader exact a c",
            "header exact a b\t",
            "header regex  b",
            "\n",
        ] {
            for mirror in ["", "0", "101", "ten", "007"] {
                let annotations = json!({
                    "split.tidegate.dev/shop": "10",
                    "match.tidegate.dev/shop": value,
                    "mirror.tidegate.dev/shop": mirror,
                });
                let patch = json!({"metadata": {"annotations": annotations}});
                let stored = objects.patch("lines", &patch, false).await?;
                let shape = Weight::new(10).map(Shape::weight);
                let wanted = HttpProxy.render(&stored, objects.backends(), shape.as_ref());
                ensure!(stored["spec"] == wanted["spec"], "`{value}`, `{mirror}`: {stored}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_large_proxy_is_within_the_budget_of_the_server() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let objects = HTTP_PROXY.ready(cluster, "large").await?;
        let routes = (0..200).map(|i| {
            json!({"conditions": [{"prefix": format!("/{i}")}], "services": [service("shop", None)]})
        });
        let spec =
            json!({"virtualhost": {"fqdn": "a.example.com"}, "routes": routes.collect::<Vec<_>>()});
        objects.apply(&HTTP_PROXY.object("large", "large", &spec)).await?;
        let [_, testers, ..] = &everybody()[..] else { return Ok(()) };
        objects.change("large", testers.as_ref(), SplitBy::Server).await?;
        let released = objects.change("large", None, SplitBy::Server).await?;
        ensure!(released["spec"] == spec, "{released}");
        Ok(())
    })
}

#[test]
fn what_we_write_ourselves_is_the_same_and_leaves_no_trace() -> Result<()> {
    scenario(PLANES, async |cluster| {
        for (kind, namespace) in
            [(HTTP_PROXY, "proxies-by-us"), (TRAEFIK_SERVICE, "services-by-us")]
        {
            let objects = kind.ready(cluster, namespace).await?;
            let case = kind.cases[2];
            let written = kind.golden(case, namespace)?;
            objects.apply(&written).await?;
            for shape in (kind.shapes)() {
                objects.change(case, shape.as_ref(), SplitBy::Us).await?;
            }
            let owned = |live: &Value| live["metadata"]["managedFields"].to_string();
            let live = objects.get(case).await?;
            ensure!(owned(&live).contains("\"tidegate\""), "{live}");
            let live = objects.change(case, None, SplitBy::Us).await?;
            ensure!(!owned(&live).contains("\"tidegate\""), "{live}");
        }
        Ok(())
    })
}

impl Kind {
    pub(crate) async fn in_force(self, cluster: &Cluster, namespace: &str) -> Result<()> {
        self.ready(cluster, namespace).await.map(drop)
    }

    /// A namespace for them, with the policy in force.
    async fn ready(self, cluster: &Cluster, namespace: &str) -> Result<Objects> {
        cluster.namespace(namespace).await?;
        cluster.installed().await?;
        let objects = Objects::of(cluster, self.provider, namespace)?;
        let spec = (self.of)(json!([service("shop", None)]));
        objects.apply(&self.object("probe", namespace, &spec)).await?;
        wait_for("the policy to be in force", ENOUGH, async || {
            let annotation =
                json!({"metadata": {"annotations": {"split.tidegate.dev/shop": "10"}}});
            let stored = objects.patch("probe", &annotation, true).await?;
            let services = stored.pointer(self.services).and_then(Value::as_array);
            Ok((services.map(Vec::len) == Some(2)).then_some(()))
        })
        .await?;
        Ok(objects)
    }

    fn golden(self, case: &str, namespace: &str) -> Result<Value> {
        let folder = repository().join("providers/golden").join(self.folder);
        let file = folder.join(case).join(self.file);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        // The golden files are of a namespace that some of them name.
        let mut object: Value = serde_norway::from_str(&text.replace("demo", namespace))?;
        object["metadata"]["name"] = json!(case);
        Ok(object)
    }

    fn object(self, name: &str, namespace: &str, spec: &Value) -> Value {
        let kind = self.provider.kind();
        json!({
            "apiVersion": format!("{}/{}", kind.group, kind.version),
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        })
    }
}

fn shares() -> Vec<Option<Shape>> {
    let shares = [0, 10, 33, 99, 100, 50, 0].map(|share| Weight::new(share).map(Shape::weight));
    shares.into_iter().chain([None]).collect()
}

/// With testers and copies in the middle.
fn everybody() -> Vec<Option<Shape>> {
    let of = |part, name: &str, value| Condition { part, name: name.to_owned(), value };
    let exact = |value: &str| Pattern::Exact(value.to_owned());
    let matches: Vec<_> = [
        vec![of(Part::Header, "x-tester", exact("yes, I am")), of(Part::Query, "beta", exact("1"))],
        vec![of(Part::Cookie, "canary", exact("al.ways"))],
        vec![of(Part::Header, "user-agent", Pattern::Regex(".*Fire ?fox.*".to_owned()))],
        vec![of(Part::Query, "q", Pattern::Regex("a|b".to_owned()))],
    ]
    .into_iter()
    .filter_map(Match::new)
    .collect();
    let shape = |share: u8, testers: usize, mirror: u8| {
        let matches = matches[..testers].to_vec();
        let weight = Weight::new(share).unwrap_or_default();
        Some(Shape { weight, matches, mirror: Weight::new(mirror).filter(|m| *m > Weight::ZERO) })
    };
    vec![
        shape(0, 0, 0),
        shape(0, 4, 30),
        shape(0, 1, 100),
        shape(33, 2, 0),
        shape(100, 4, 1),
        shape(99, 0, 0),
        shape(50, 3, 0),
        shape(0, 0, 0),
        None,
    ]
}

fn service(name: &str, weight: Option<u32>) -> Value {
    let mut service = json!({"name": name, "port": 80});
    if let Some(weight) = weight {
        service["weight"] = json!(weight);
    }
    service
}
