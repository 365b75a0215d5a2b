//! What real gateways make of a route's testers and copies.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use providers::traffic::{Backends, HttpRoute, SplitBy, System, TrafficProvider, change};
use rollout::{Condition, Match, Part, Pattern, Shape, Weight};
use serde_json::{Value, json};
use tests::{App, Cluster, Load, Plane, Requests, scenario, wait_for};
use tokio::sync::OnceCell;

const PLANES: &[Plane] = &[Plane::Traefik, Plane::EnvoyGateway];
const ENOUGH: Duration = Duration::from_secs(30);

#[test]
fn traefik_sends_testers_to_the_canary_whatever_its_share() -> Result<()> {
    scenario(PLANES, async |cluster| testers(cluster, Plane::Traefik, "testers-traefik").await)
}

#[test]
fn envoy_gateway_sends_testers_to_the_canary_whatever_its_share() -> Result<()> {
    scenario(PLANES, async |cluster| testers(cluster, Plane::EnvoyGateway, "testers-envoy").await)
}

/// Paths of the route's rules, and what a request needs beside: a prefix of its own, a rule that has its own header, and the rest.
const RULES: [(&str, &[(&str, &str)]); 3] =
    [("/api/orders", &[]), ("/eu", &[("x-region", "eu")]), ("/", &[])];

async fn testers(cluster: &Cluster, gateway: Plane, namespace: &str) -> Result<()> {
    let site = Site::new(cluster, gateway, namespace).await?;
    let cookie = |value| ("cookie", value);
    // Query and headers.
    let tested: [(&str, &[(&str, &str)]); 8] = [
        ("", &[("x-tester", "1")]),
        ("", &[("X-Tester", "1")]),
        ("", &[cookie("can.ary=al.ways~(1)")]),
        ("", &[cookie("a=b; can.ary=al.ways~(1); c=d")]),
        ("", &[cookie("a=b;can.ary=al.ways~(1)")]),
        ("?beta=yes", &[]),
        ("?other=1&beta=yes", &[]),
        ("?group=7", &[("x-both", "1")]),
    ];
    let others: [(&str, &[(&str, &str)]); 11] = [
        ("", &[]),
        ("", &[("x-tester", "2")]),
        ("", &[("x-tester", "11")]),
        ("?group=x7", &[("x-both", "1")]),
        ("", &[cookie("canxary=al.ways~(1)")]),
        ("", &[cookie("can.ary=alxways~(1)")]),
        ("", &[cookie("a=b; xcan.ary=al.ways~(1)")]),
        ("", &[cookie("can.ary=al.ways~(1)x")]),
        ("?beta=no", &[]),
        ("?group=7", &[]),
        ("?group=77", &[("x-both", "1")]),
    ];
    for weight in [0, 50, 0] {
        site.shape(&Shape { matches: kinds(), ..at(weight) }).await?;
        for (path, needs) in RULES {
            for (query, headers) in tested {
                let headers = [needs, headers].concat();
                let by = site.answers(&format!("{path}{query}"), &headers, 10).await?;
                ensure!(by == [0, 10], "{weight} % {path}{query} {headers:?}: {by:?}");
            }
            for (query, headers) in others {
                let headers = [needs, headers].concat();
                let by = site.answers(&format!("{path}{query}"), &headers, 20).await?;
                let meant = if weight == 0 { by[1] == 0 } else { by[0] > 0 && by[1] > 0 };
                ensure!(meant, "{weight} % {path}{query} {headers:?}: {by:?}");
            }
        }
    }
    site.shape(&at(0)).await?;
    for (path, needs) in RULES {
        for (query, headers) in tested {
            let headers = [needs, headers].concat();
            let by = site.answers(&format!("{path}{query}"), &headers, 10).await?;
            ensure!(by == [10, 0], "nobody is a tester: {path}{query} {headers:?}: {by:?}");
        }
    }
    Ok(())
}

#[test]
fn envoy_gateway_copies_as_many_requests_as_it_is_told_and_answers_with_stable_s() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let site = Site::new(cluster, Plane::EnvoyGateway, "copies-envoy").await?;
        for (percent, least, most) in [(10, 0.07, 0.13), (100, 1.0, 1.0), (1, 0.0, 0.03)] {
            site.shape(&Shape { mirror: Weight::new(percent), ..at(0) }).await?;
            let before = cluster.served(site.namespace).await?;
            let load = Load::start(cluster, &site.requests().per_second(100)).await?;
            let enough = async || Ok((load.each()?.len() >= 1_000).then_some(()));
            wait_for("1,000 answers", ENOUGH, enough).await?;
            let all = load.stop().await?;
            ensure!((all.failed, all.by("2.0")) == (0, 0), "{percent} %: {all:?}");
            let copies = async || {
                let now = cluster.served(site.namespace).await?;
                let copies = now.by("2.0") - before.by("2.0");
                eprintln!("{percent} %: {copies} copies of {}", all.requests);
                #[expect(clippy::cast_precision_loss, reason = "thousands")]
                let share = copies as f64 / all.requests as f64;
                Ok((least <= share && share <= most).then_some(()))
            };
            wait_for("as many copies as were told", ENOUGH, copies).await?;
        }
        Ok(())
    })
}

#[test]
fn traefik_answers_nothing_any_more_on_a_route_with_copies_so_it_gets_none() -> Result<()> {
    let copies = Shape { mirror: Some(Weight::FULL), ..at(0) };
    let lacks = System::Traefik.capabilities().lacks(&copies);
    ensure!(lacks.as_deref().is_some_and(|why| why.contains("can't mirror")), "{lacks:?}");
    scenario(PLANES, async |cluster| {
        let site = Site::new(cluster, Plane::Traefik, "copies-traefik").await?;
        site.shape(&copies).await?;
        let seen = HttpRoute.read(&site.live().await?, &site.backends);
        ensure!(seen.accepted, "it doesn't say so: {seen:?}");
        let codes = site.codes("/", 20).await?;
        ensure!(codes == [500; 20], "Traefik mirrors by now? {codes:?}");
        site.shape(&at(0)).await?;
        ensure!(site.codes("/", 20).await? == [200; 20], "as before");
        Ok(())
    })
}

#[test]
fn traefik_loses_no_request_when_testers_come_and_go() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let site = Site::new(cluster, Plane::Traefik, "losses-traefik").await?;
        losses(&site, &[Shape { matches: kinds(), ..at(0) }]).await
    })
}

#[test]
fn envoy_gateway_loses_no_request_when_testers_and_copies_come_and_go() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let site = Site::new(cluster, Plane::EnvoyGateway, "losses-envoy").await?;
        let testers = Shape { matches: kinds(), ..at(0) };
        let copies = Shape { mirror: Weight::new(50), ..at(0) };
        let both = Shape { mirror: copies.mirror, ..testers.clone() };
        losses(&site, &[testers, copies, both]).await
    })
}

/// Each shape comes and goes at several shares, and with the whole split, under the requests of users and of testers.
async fn losses(site: &Site<'_>, shapes: &[Shape]) -> Result<()> {
    for shape in shapes {
        let users = Load::start(site.cluster, &site.requests().per_second(60)).await?;
        let testers = site.requests().path("/?beta=yes").per_second(60);
        let testers = Load::start(site.cluster, &testers).await?;
        let mut writes = Vec::new();
        let mut write = async |shape: Option<Shape>| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
            writes.push((now, shape.as_ref().map(Shape::to_string)));
            if let Some(shape) = shape {
                return site.shape(&shape).await;
            }
            site.write(None).await?;
            site.accepted().await
        };
        for weight in [0, 50, 100, 0] {
            let weight = Weight::new(weight).context("a weight")?;
            write(Some(Shape { weight, ..shape.clone() })).await?;
            write(Some(Shape::weight(weight))).await?;
        }
        // A run sends nobody to the canary before the release.
        write(Some(shape.clone())).await?;
        write(Some(at(0))).await?;
        write(None).await?;
        let each = [users.each()?, testers.each()?].concat();
        let failed = each.iter().filter(|request| request.code != 200);
        let failed: Vec<_> = failed
            .map(|request| {
                let write = writes.iter().rev().find(|(at, _)| *at < request.sent);
                (request.code, write.map(|(at, shape)| (request.sent - at, shape)))
            })
            .collect();
        let (users, testers) = (users.stop().await?, testers.stop().await?);
        eprintln!(
            "{:?}, {} testers, mirror {:?}, {} writes: failed {} of {} requests of users, {} of {} of testers",
            site.gateway,
            shape.matches.len(),
            shape.mirror,
            writes.len(),
            users.failed,
            users.requests,
            testers.failed,
            testers.requests,
        );
        ensure!(
            users.failed + testers.failed == 0,
            "{shape}: code, and seconds after which write: {:?}\n{:?} {:?}",
            &failed[..failed.len().min(5)],
            users.errors,
            testers.errors,
        );
    }
    Ok(())
}

/// Stable 1.0, a canary 2.0, and a route with the rules of `RULES` in front of them.
struct Site<'a> {
    cluster: &'a Cluster,
    gateway: Plane,
    namespace: &'a str,
    backends: Backends,
    api: Api<DynamicObject>,
    client: reqwest::Client,
}

impl<'a> Site<'a> {
    async fn new(cluster: &'a Cluster, gateway: Plane, namespace: &'a str) -> Result<Self> {
        static POLICY: OnceCell<()> = OnceCell::const_new();
        let policy =
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies/split.yaml"));
        let apply =
            async || cluster.kubectl(&["apply", "-f", &policy.to_string_lossy()]).await.map(drop);
        POLICY.get_or_try_init(apply).await?;
        cluster.deploy(&App::new("shop", namespace)).await?;
        cluster.deploy(&App::new("shop-canary", namespace).version("2.0")).await?;
        let backends = Backends::new(namespace, "shop")?;
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let api = Api::namespaced_with(cluster.client(), namespace, &ApiResource::from_gvk(&kind));
        let (infra, name) = gateway.gateway().context("a gateway")?;
        let rule = |matches: Value| json!({"matches": [matches], "backendRefs": [{"name": "shop", "port": 80}]});
        let prefix = |path: &str| json!({"type": "PathPrefix", "value": path});
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "parentRefs": [{"name": name, "namespace": infra}],
                "hostnames": [format!("{namespace}.test")],
                "rules": [
                    rule(json!({"path": prefix("/api")})),
                    rule(json!({"path": prefix("/"), "headers": [{"name": "X-Region", "value": "eu"}]})),
                    rule(json!({"path": prefix("/")})),
                ],
            },
        });
        cluster.apply(&route.to_string()).await?;
        cluster.answers(gateway, &format!("{namespace}.test")).await?;
        let client = reqwest::Client::new();
        let site = Self { cluster, gateway, namespace, backends, api, client };
        wait_for("the policy to be in force", ENOUGH, async || {
            site.write(Some(&at(0))).await?;
            let seen = HttpRoute.read(&site.live().await?, &site.backends);
            Ok((seen.trouble.is_none()).then_some(()))
        })
        .await?;
        Ok(site)
    }

    fn requests(&self) -> Requests {
        Requests::through(self.gateway, &format!("{}.test", self.namespace))
    }

    async fn live(&self) -> Result<Value> {
        Ok(serde_json::to_value(self.api.get("web").await?)?)
    }

    /// As the controller does; the gateway's own writes of the status may come between.
    async fn write(&self, shape: Option<&Shape>) -> Result<()> {
        wait_for("the write", ENOUGH, async || {
            let live = self.live().await?;
            if let Some(patch) = change(&HttpRoute, &live, &self.backends, shape, SplitBy::Server)?
            {
                let params = PatchParams::default();
                self.api.patch("web", &params, &Patch::Merge(&patch)).await?;
            }
            Ok(Some(()))
        })
        .await
    }

    async fn accepted(&self) -> Result<()> {
        wait_for("the gateway to accept it", ENOUGH, async || {
            let seen = HttpRoute.read(&self.live().await?, &self.backends);
            ensure!(seen.accepted, "{seen:?}");
            Ok(Some(()))
        })
        .await?;
        let system = match self.gateway {
            Plane::Traefik => System::Traefik,
            _ => System::EnvoyGateway,
        };
        // As long as the controller does.
        tokio::time::sleep(system.capabilities().settle.to_std()?).await;
        Ok(())
    }

    /// Until the route has it: testers take two writes.
    async fn shape(&self, shape: &Shape) -> Result<()> {
        let wanted = shape.clone().in_order();
        wait_for(&format!("the route to have {shape}"), ENOUGH, async || {
            self.write(Some(shape)).await?;
            self.accepted().await?;
            let stored = HttpRoute.read(&self.live().await?, &self.backends).stored;
            ensure!(stored.map(Shape::in_order).as_ref() == Some(&wanted), "it has another");
            Ok(Some(()))
        })
        .await
    }

    /// How many requests stable and the canary answered.
    async fn answers(&self, path: &str, headers: &[(&str, &str)], n: usize) -> Result<[usize; 2]> {
        let mut by = [0, 0];
        for _ in 0..n {
            let mut request = self.client.get(format!("{}{path}", self.gateway.url()));
            request = request.header("Host", format!("{}.test", self.namespace));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await?;
            match answer.headers().get("x-version").map(|v| v.to_str()).transpose()? {
                Some("1.0") => by[0] += 1,
                Some("2.0") => by[1] += 1,
                _ => anyhow::bail!("{path} {headers:?}: {answer:?}"),
            }
        }
        Ok(by)
    }

    async fn codes(&self, path: &str, n: usize) -> Result<Vec<u16>> {
        let mut codes = Vec::new();
        for _ in 0..n {
            let request = self.client.get(format!("{}{path}", self.gateway.url()));
            let request = request.header("Host", format!("{}.test", self.namespace));
            codes.push(request.send().await?.status().as_u16());
        }
        Ok(codes)
    }
}

/// One of each kind.
fn kinds() -> Vec<Match> {
    let one = |part, name: &str, value| Condition { part, name: name.to_owned(), value };
    let exact = |value: &str| Pattern::Exact(value.to_owned());
    let regex = |value: &str| Pattern::Regex(value.to_owned());
    let kinds = [
        vec![one(Part::Query, "beta", exact("yes"))],
        vec![one(Part::Header, "x-tester", exact("1"))],
        vec![one(Part::Cookie, "can.ary", exact("al.ways~(1)"))],
        vec![one(Part::Header, "x-both", exact("1")), one(Part::Query, "group", regex("[0-9]"))],
    ];
    kinds.into_iter().filter_map(Match::new).collect()
}

fn at(percent: u8) -> Shape {
    Shape::weight(Weight::new(percent).unwrap_or_default())
}
