//! The bench itself: what it says about traffic is true.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{App, Cluster, Fault, FaultyPrometheus, Load, Plane, Requests, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik, Plane::EnvoyGateway];
const ENOUGH: Duration = Duration::from_mins(1);

#[test]
fn traefik_sends_a_tenth_of_the_requests_where_the_route_says_so() -> Result<()> {
    scenario(PLANES, async |cluster| a_tenth(cluster, Plane::Traefik, "tenth-traefik").await)
}

#[test]
fn envoy_gateway_sends_a_tenth_of_the_requests_where_the_route_says_so() -> Result<()> {
    scenario(PLANES, async |cluster| a_tenth(cluster, Plane::EnvoyGateway, "tenth-envoy").await)
}

async fn a_tenth(cluster: &Cluster, gateway: Plane, namespace: &str) -> Result<()> {
    let host = format!("{namespace}.test");
    let stable = App::new("web", namespace).behaves("latency-ms", "5").host(gateway, &host);
    let canary = App::new("web-canary", namespace).version("2.0").behaves("latency-ms", "5");
    cluster.deploy(&canary).await?;
    cluster.deploy(&stable).await?;

    let load = Load::start(cluster, &Requests::through(gateway, &host).per_second(200)).await?;
    let route = gateway.gateway().map_or("", |(_, name)| name);
    let split = r#"[{"op": "replace", "path": "/spec/rules/0/backendRefs", "value":
        [{"name": "web", "port": 80, "weight": 90}, {"name": "web-canary", "port": 80, "weight": 10}]}]"#;
    let route = format!("httproute/web-{route}");
    cluster.kubectl(&["-n", namespace, "patch", &route, "--type", "json", "-p", split]).await?;
    let share = r#"sum(rate(http_requests_total{namespace="NS",app="web-canary"}[5s]))
        / sum(rate(http_requests_total{namespace="NS"}[5s]))"#
        .replace("NS", namespace);
    let prometheus = cluster.prometheus();
    wait_for("Prometheus to see a tenth on the canary", ENOUGH, async || {
        let seen = prometheus.value(&share).await?;
        Ok(seen.filter(|seen| (0.07..0.13).contains(seen)))
    })
    .await?;
    let summary = load.stop().await?;

    ensure!(summary.failed == 0, "no request fails: {summary:?}");
    let served = cluster.served(namespace).await?;
    // Stable also answered the few requests with which the harness waited for the route.
    ensure!(served.by("2.0") == summary.by("2.0"), "{served:?}, {summary:?}");
    ensure!(served.by("1.0") >= summary.by("1.0"), "{served:?}, {summary:?}");
    ensure!(served.by("1.0") + served.by("2.0") < summary.requests + 100, "{served:?}");
    Ok(())
}

#[test]
fn a_rolling_update_under_load_loses_no_request_and_what_old_pods_served_stays_counted()
-> Result<()> {
    scenario(PLANES, async |cluster| {
        let namespace = "rolls";
        let app = App::new("web", namespace).replicas(3).host(Plane::Traefik, "rolls.test");
        cluster.deploy(&app).await?;
        let kept = Load::start(cluster, &Requests::to_service(namespace, "web")).await?;
        let fresh = Requests::to_service(namespace, "web").new_connections();
        let fresh = Load::start(cluster, &fresh).await?;
        let routed = Load::start(cluster, &Requests::through(Plane::Traefik, "rolls.test")).await?;

        let new = app.version("2.0").behaves("ready-after", "1s");
        cluster.apply(&new.deployment().to_string()).await?;
        cluster.rolled_out(namespace, "web").await?;
        wait_for("the old pods to go", ENOUGH, async || {
            let pods = cluster.kubectl(&["-n", namespace, "get", "pods", "-o", "name"]).await?;
            Ok((pods.lines().count() == 3).then_some(()))
        })
        .await?;

        let mut old = 0;
        for load in [kept, fresh, routed] {
            let summary = load.stop().await?;
            ensure!(summary.failed == 0, "no request fails: {summary:?}");
            ensure!(summary.by("2.0") > 0, "the new version serves: {summary:?}");
            old += summary.by("1.0");
        }
        let served = cluster.served(namespace).await?;
        ensure!(old > 0 && served.by("1.0") >= old, "{old} answers of 1.0, but {served:?}");
        Ok(())
    })
}

#[test]
fn pods_fail_and_dawdle_as_often_as_they_are_told() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let app = App::new("web", "behaves")
            .behaves("error-rate", "0.2")
            .behaves("slow-rate", "0.1")
            .behaves("slow-ms", "300");
        cluster.deploy(&app).await?;
        let requests = Requests::to_service("behaves", "web").per_second(300);
        let load = Load::start(cluster, &requests).await?;
        wait_for("1500 answers", ENOUGH, async || {
            Ok((cluster.served("behaves").await?.by("1.0") > 1500).then_some(()))
        })
        .await?;
        let summary = load.stop().await?;
        ensure!(summary.lost == 0, "each request has a pod's answer: {summary:?}");
        ensure!(
            (15..25).contains(&(summary.failed * 100 / summary.requests)),
            "a fifth fails: {summary:?}"
        );
        ensure!(
            summary.ms.p50 < 100.0 && summary.ms.p95 >= 300.0,
            "a tenth takes 300 ms: {summary:?}"
        );
        let served = cluster.served("behaves").await?;
        ensure!(served.with_code("1.0", 500) == summary.failed, "{served:?}, {summary:?}");
        Ok(())
    })
}

#[test]
fn what_keeps_a_container_from_running_is_in_the_pod_s_status() -> Result<()> {
    scenario(PLANES, async |cluster| {
        cluster.namespace("stuck").await?;
        let crash = App::new("crash", "stuck").behaves("crash", "loop");
        let image = App::new("image", "stuck").behaves("waiting", "ImagePullBackOff");
        let later = App::new("later", "stuck")
            .behaves("waiting", "CreateContainerConfigError")
            .behaves("waiting-for", "2s");
        for app in [&crash, &image, &later] {
            cluster.apply(&app.deployment().to_string()).await?;
        }
        let path = "jsonpath={.items[0].status.containerStatuses[0]['restartCount','state.waiting.reason']}";
        for (app, status) in [
            ("image", "0 ImagePullBackOff"),
            ("later", "0 CreateContainerConfigError"),
            ("crash", "2 CrashLoopBackOff"),
        ] {
            let of = format!("app={app}");
            wait_for(&format!("{app}: {status}"), ENOUGH, async || {
                let args = ["-n", "stuck", "get", "pods", "-l", &of, "-o", path];
                Ok((cluster.kubectl(&args).await? == status).then_some(()))
            })
            .await?;
        }
        cluster.rolled_out("stuck", "later").await
    })
}

#[test]
fn a_user_has_no_rights_until_granted_and_each_of_their_requests_is_recorded() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let reader = cluster.user("reader").await?;
        let pods = ["-n", "default", "get", "pods"];
        let refused = cluster.kubectl_as(&reader, &pods, "").await.unwrap_err().to_string();
        ensure!(refused.contains("Forbidden"), "{refused}");
        let requests = cluster.api_requests("reader")?;
        let last = requests.last().map(|r| (r.verb.as_str(), r.resource.as_str(), r.code));
        ensure!(last == Some(("list", "pods", 403)), "{requests:?}");
        Ok(())
    })
}

#[test]
fn a_front_of_prometheus_passes_on_and_counts() -> Result<()> {
    scenario(PLANES, async |cluster| {
        let front = FaultyPrometheus::start(cluster.prometheus().url()).await?;
        let query = format!("{}/api/v1/query?query=vector(42)", front.url());
        ensure!(reqwest::get(&query).await?.text().await?.contains("\"42\""), "the real answer");
        front.set(Fault::Status(500));
        ensure!(reqwest::get(&query).await?.status().as_u16() == 500, "the fault");
        ensure!(front.queries() == 2, "{} queries", front.queries());
        Ok(())
    })
}
