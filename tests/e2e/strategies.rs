//! Blue/green with testers, A/B, mirroring and a mix of them: whole runs under load, through real gateways.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use api::{ActionVerb, CanaryStatus};
use serde_json::{Value, json};
use tests::{
    Cluster, Controller, Load, Plane, Release, Requests, Status, Summary, scenario, wait_for,
};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik, Plane::EnvoyGateway];
const ENOUGH: Duration = Duration::from_mins(1);
const TESTER: (&str, &str) = ("x-canary", "1");
const GROUP_B: (&str, &str) = ("cookie", "theme=dark; group=b");

/// Runs a story while the controller looks after the cluster.
fn story(tell: impl AsyncFnOnce(&'static Cluster) -> Result<()>) -> Result<()> {
    scenario(PLANES, async |cluster| {
        Controller::shared(cluster).await?;
        tell(cluster).await
    })
}

fn testers() -> Value {
    json!([{"headers": {"x-canary": {"exact": "1"}}}, {"cookies": {"canary": {"exact": "always"}}}])
}

fn group_b() -> Value {
    json!([{"cookies": {"group": {"exact": "b"}}}])
}

/// Testers, a person, then everybody at once, with the old version kept warm.
fn blue_green() -> Value {
    json!({
        "testers": testers(),
        "steps": [
            {"weight": 0, "checks": 2},
            {"weight": 0, "hold": {"untilApproved": true}},
            {"weight": 100, "checks": 2, "hold": {"for": "5s"}},
        ],
    })
}

#[test]
fn traefik_gives_testers_the_new_version_until_everybody_has_it() -> Result<()> {
    story(async |cluster| switched(cluster, Plane::Traefik, "switched-traefik").await)
}

#[test]
fn envoy_gateway_gives_testers_the_new_version_until_everybody_has_it() -> Result<()> {
    story(async |cluster| switched(cluster, Plane::EnvoyGateway, "switched-envoy").await)
}

async fn switched(cluster: &'static Cluster, plane: Plane, namespace: &str) -> Result<()> {
    let site = Site::open(cluster, plane, namespace, blue_green()).await?;
    let (users, testers) = (site.load(None).await?, site.load(Some(TESTER)).await?);
    let shop = &site.shop;
    shop.write(&shop.app().version("2.0")).await?;
    site.at("checks on testers", "1/3", "CheckNotDue").await?;
    let tested = now()?;
    let waiting = site.at("approval", "2/3", "AwaitingApproval").await?;
    let traffic = waiting.traffic.context("traffic")?;
    ensure!((traffic.intended, traffic.stored) == (0, 0), "{traffic:?}");
    let kinds = ["header x-canary=1", "cookie canary=always"];
    ensure!(traffic.matches == kinds, "{:?}", traffic.matches);
    for (header, version) in [
        (("cookie", "a=b; canary=always"), "2.0"),
        (("cookie", "canary=always2"), "1.0"),
        (("x-canary", "2"), "1.0"),
    ] {
        let by = site.answered(header).await?;
        ensure!(by == version, "{header:?} is answered by {by}, not {version}");
    }
    let writes = site.writes()?;
    let approved = now()?;
    shop.accepted(ActionVerb::Promote).await?;
    site.everybody_is_there().await?;
    ensure!(site.writes()? == writes + 1, "one write of the route switches everybody");
    let warm = shop.pods().await?.values().filter(|tag| *tag == "1.0").count();
    ensure!(warm == 4, "the old version is kept warm: {:?}", shop.pods().await?);
    shop.until_phase("Succeeded").await?;
    let ended = site.returned().await?;
    site.as_before().await?;
    shop.no_canary_left().await?;

    let seen = versions(&users, 0.0, approved)?;
    ensure!(only(&seen, "1.0"), "users before the switch: {seen:?}");
    let seen = versions(&testers, tested, ended)?;
    ensure!(only(&seen, "2.0"), "testers until the end: {seen:?}");
    for load in [users, testers] {
        let summary = load.stop().await?;
        ensure!(summary.failed == 0 && summary.by("2.0") > 0, "{summary:?}");
    }
    shop.in_sync(&shop.app().version("2.0")).await
}

#[test]
fn traefik_is_switched_back_in_one_write_and_testers_rules_go_with_it() -> Result<()> {
    story(async |cluster| switched_back(cluster, Plane::Traefik, "back-traefik").await)
}

#[test]
fn envoy_gateway_is_switched_back_in_one_write_and_testers_rules_go_with_it() -> Result<()> {
    story(async |cluster| switched_back(cluster, Plane::EnvoyGateway, "back-envoy").await)
}

/// A person aborts it after the switch.
async fn switched_back(cluster: &'static Cluster, plane: Plane, namespace: &str) -> Result<()> {
    let mut spec = blue_green();
    spec["steps"][2]["hold"] = json!({"untilApproved": true});
    let site = Site::open(cluster, plane, namespace, spec).await?;
    let (users, testers) = (site.load(None).await?, site.load(Some(TESTER)).await?);
    let shop = &site.shop;
    let pods = shop.pods().await?;
    shop.write(&shop.app().version("2.0")).await?;
    site.at("approval", "2/3", "AwaitingApproval").await?;
    shop.accepted(ActionVerb::Promote).await?;
    site.everybody_is_there().await?;
    let writes = site.writes()?;
    shop.accepted(ActionVerb::Abort).await?;
    let back = |s: &CanaryStatus| {
        s.phase != "Progressing" && s.traffic.as_ref().is_none_or(|t| t.stored == 0)
    };
    shop.until("everybody to be back", back).await?;
    ensure!(site.writes()? == writes + 1, "one write of the route, and everybody is back");
    shop.until_phase("Failed").await?;
    site.as_before().await?;
    shop.no_canary_left().await?;
    ensure!(shop.pods().await? == pods, "the old pods have been there all the time");
    let ended = now()?;
    for load in [users, testers] {
        site.answers_after(&load, ended).await?;
        let seen = versions(&load, ended, f64::MAX)?;
        ensure!(only(&seen, "1.0"), "after the way back: {seen:?}");
        let summary = load.stop().await?;
        ensure!(summary.failed == 0 && summary.by("2.0") > 0, "{summary:?}");
    }
    Ok(())
}

#[test]
fn traefik_has_no_rule_for_testers_once_the_canary_is_deleted() -> Result<()> {
    story(async |cluster| deleted(cluster, Plane::Traefik, "deleted-traefik").await)
}

#[test]
fn envoy_gateway_has_no_rule_for_testers_once_the_canary_is_deleted() -> Result<()> {
    story(async |cluster| deleted(cluster, Plane::EnvoyGateway, "deleted-envoy").await)
}

/// While testers are on the new version, and users on the old one.
async fn deleted(cluster: &'static Cluster, plane: Plane, namespace: &str) -> Result<()> {
    let site = Site::open(cluster, plane, namespace, blue_green()).await?;
    let (users, testers) = (site.load(None).await?, site.load(Some(TESTER)).await?);
    let shop = &site.shop;
    shop.write(&shop.app().version("2.0")).await?;
    site.at("approval", "2/3", "AwaitingApproval").await?;
    ensure!(site.answered(TESTER).await? == "2.0");
    cluster.kubectl(&["-n", namespace, "delete", "canary", "shop"]).await?;
    site.as_before().await?;
    shop.no_canary_left().await?;
    for load in [users, testers] {
        let summary = load.stop().await?;
        ensure!(summary.failed == 0, "{summary:?}");
    }
    Ok(())
}

#[test]
fn testers_errors_roll_a_bad_version_back_before_any_user_saw_it() -> Result<()> {
    story(async |cluster| {
        let site = Site::open(cluster, Plane::Traefik, "tested-bad", blue_green()).await?;
        let (users, testers) = (site.load(None).await?, site.load(Some(TESTER)).await?);
        let shop = &site.shop;
        shop.write(&shop.app().version("2.0").behaves("error-rate", "0.5")).await?;
        let failed = shop.until_phase("Failed").await?;
        ensure!(failed.message().contains("success-rate"), "{}", failed.message());
        site.as_before().await?;
        let summary = users.stop().await?;
        ensure!(summary.failed == 0 && summary.by("2.0") == 0, "users: {summary:?}");
        let summary = testers.stop().await?;
        ensure!(summary.failed > 0 && summary.failed == summary.failed_by("2.0"), "{summary:?}");
        Ok(())
    })
}

#[test]
fn a_b_gives_the_new_version_to_those_who_match_and_to_nobody_else() -> Result<()> {
    story(async |cluster| {
        let step =
            json!({"weight": 0, "match": group_b(), "checks": 3, "hold": {"untilApproved": true}});
        let site = Site::open(cluster, Plane::Traefik, "a-b", json!({"steps": [step]})).await?;
        let (users, group) = (site.load(None).await?, site.load(Some(GROUP_B)).await?);
        let shop = &site.shop;
        shop.write(&shop.app().version("2.0")).await?;
        site.at("checks on the group", "1/1", "CheckNotDue").await?;
        let began = now()?;
        let new = shop.pods().await?.values().filter(|tag| *tag == "2.0").count();
        ensure!(new == 4, "nobody knows how many match: {:?}", shop.pods().await?);
        let waiting = shop.until_waiting("AwaitingApproval").await?;
        ensure!(waiting.metrics.iter().all(|m| m.stable.is_some()), "{:?}", waiting.metrics);
        let run = shop.run().await?.status.context("a status")?;
        let passed = run.history.iter().filter(|e| e.reason == "CheckPassed").count();
        ensure!(passed == 3, "as many checks as were asked for: {:?}", run.history);
        let approved = now()?;
        shop.accepted(ActionVerb::Promote).await?;
        shop.until_phase("Succeeded").await?;
        site.as_before().await?;
        let seen = versions(&users, 0.0, approved)?;
        ensure!(only(&seen, "1.0"), "who doesn't match: {seen:?}");
        let seen = versions(&group, began, approved)?;
        ensure!(only(&seen, "2.0"), "who matches: {seen:?}");
        for load in [users, group] {
            let summary = load.stop().await?;
            ensure!(summary.failed == 0 && summary.by("2.0") > 0, "{summary:?}");
        }
        Ok(())
    })
}

/// Half of the requests are copied for three checks.
fn copies() -> Value {
    json!({"weight": 0, "mirror": {"percent": 50}, "checks": 3})
}

#[test]
fn copies_are_judged_and_counted_as_nobodys_requests() -> Result<()> {
    story(async |cluster| {
        let mut step = copies();
        step["hold"] = json!({"untilApproved": true});
        let spec = json!({"steps": [step]});
        let site = Site::open(cluster, Plane::EnvoyGateway, "copied", spec).await?;
        let users = site.load(None).await?;
        let shop = &site.shop;
        shop.write(&shop.app().version("2.0")).await?;
        let waiting = shop.until_waiting("AwaitingApproval").await?;
        let traffic = waiting.traffic.context("traffic")?;
        ensure!(traffic.mirrored == Some(50), "{traffic:?}");
        ensure!(traffic.observed.is_none(), "copies are no share: {traffic:?}");
        let judged = waiting.metrics.first().context("a metric")?;
        ensure!(judged.canary.is_some() && judged.requests > Some(0.0), "{judged:?}");
        let copies = cluster.served("copied").await?.by("2.0");
        ensure!(copies > 50, "{copies} copies");
        let approved = now()?;
        shop.accepted(ActionVerb::Promote).await?;
        shop.until_phase("Succeeded").await?;
        site.as_before().await?;
        let seen = versions(&users, 0.0, approved)?;
        ensure!(only(&seen, "1.0"), "nobody gets a copy's answer: {seen:?}");
        let summary = users.stop().await?;
        ensure!(summary.failed == 0 && summary.by("2.0") > 0, "{summary:?}");
        Ok(())
    })
}

#[test]
fn copies_errors_roll_a_bad_version_back_without_one_error_of_a_user() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"steps": [copies(), {"weight": 50}]});
        let site = Site::open(cluster, Plane::EnvoyGateway, "copied-bad", spec).await?;
        let users = site.load(None).await?;
        let shop = &site.shop;
        shop.write(&shop.app().version("2.0").behaves("error-rate", "0.5")).await?;
        let failed = shop.until_phase("Failed").await?;
        ensure!(failed.message().contains("success-rate"), "{}", failed.message());
        site.as_before().await?;
        let served = cluster.served("copied-bad").await?;
        ensure!(served.with_code("2.0", 500) > 0, "copies have failed: {served:?}");
        let Summary { failed, requests, .. } = users.stop().await?;
        ensure!(failed == 0, "{failed} of {requests}");
        Ok(())
    })
}

#[test]
fn a_mix_of_testers_copies_a_group_and_shares_loses_nothing() -> Result<()> {
    story(async |cluster| {
        let spec = json!({
            "testers": testers(),
            "steps": [
                {"weight": 0, "hold": {"untilApproved": true}},
                {"weight": 0, "mirror": {"percent": 50}},
                {"weight": 5, "match": group_b(), "checks": 2},
                {"weight": 50},
                {"weight": 100, "hold": {"for": "3s"}},
            ],
        });
        let site = Site::open(cluster, Plane::EnvoyGateway, "mixed", spec).await?;
        let users = site.load(None).await?;
        let (testers, group) = (site.load(Some(TESTER)).await?, site.load(Some(GROUP_B)).await?);
        let shop = &site.shop;
        shop.write(&shop.app().version("2.0")).await?;
        site.at("testers alone", "1/5", "AwaitingApproval").await?;
        let tested = now()?;
        shop.accepted(ActionVerb::Promote).await?;
        let copied = site.at("copies", "2/5", "CheckNotDue").await?.traffic.context("traffic")?;
        ensure!(copied.mirrored == Some(50) && copied.observed.is_none(), "{copied:?}");
        ensure!(copied.matches.len() == 2, "testers stay: {copied:?}");
        let before = now()?;
        let mixed = site.at("the group", "3/5", "CheckNotDue").await?.traffic.context("traffic")?;
        ensure!(mixed.mirrored.is_none() && mixed.intended == 5, "{mixed:?}");
        ensure!(mixed.matches.len() == 3, "testers, and the group: {mixed:?}");
        let grouped = now()?;
        site.at("half of the rest", "4/5", "CheckNotDue").await?;
        let shared = now()?;
        shop.until_phase("Succeeded").await?;
        let ended = site.returned().await?;
        site.as_before().await?;

        for load in [&users, &group] {
            let seen = versions(load, 0.0, before)?;
            ensure!(only(&seen, "1.0"), "nobody but testers at weight 0: {seen:?}");
        }
        let seen = versions(&testers, tested, ended)?;
        ensure!(only(&seen, "2.0"), "testers: {seen:?}");
        // A check is 2 s after the one before, and the rule stays for two of them.
        let seen = versions(&group, grouped, grouped + 1.0)?;
        ensure!(only(&seen, "2.0"), "the group in its step: {seen:?}");
        let seen = versions(&users, shared, shared + 1.0)?;
        ensure!(seen.len() == 2, "users in the next: {seen:?}");
        for load in [users, testers, group] {
            let summary = load.stop().await?;
            ensure!(summary.failed == 0 && summary.by("2.0") > 0, "{summary:?}");
        }
        Ok(())
    })
}

#[test]
fn a_mirror_is_refused_where_the_gateway_only_seems_to_do_it() -> Result<()> {
    story(async |cluster| {
        let site = Site::open(cluster, Plane::Traefik, "copies-refused", json!({})).await?;
        let shop = &site.shop;
        let writes = site.writes()?;
        shop.configure(json!({"steps": [copies(), {"weight": 50}]})).await?;
        let says = "spec.steps[0] needs a copy of 50 % of the requests: it can't mirror (traefik)";
        shop.until("the refusal", |s| s.phase == "Initializing" && s.message().contains(says))
            .await?;
        shop.write(&shop.app().version("2.0")).await?;
        shop.until("the new version to be held", |s| s.message().contains(says)).await?;
        let pods = shop.pods().await?;
        ensure!(pods.values().all(|tag| tag == "1.0"), "nothing has begun: {pods:?}");
        ensure!(site.writes()? == writes, "the route was left alone");
        site.as_before().await
    })
}

/// The app behind a gateway, with its canary.
struct Site {
    shop: Release,
    plane: Plane,
    /// The owner's route, before any run.
    route: Value,
}

impl Site {
    async fn open(
        cluster: &'static Cluster,
        plane: Plane,
        namespace: &str,
        spec: Value,
    ) -> Result<Self> {
        let shop = Release::open(cluster, plane, namespace, spec).await?;
        let route = shop.owned().await?.route;
        Ok(Self { shop, plane, route })
    }

    fn host(&self) -> String {
        format!("{}.test", self.shop.namespace())
    }

    /// Requests of users, or of those who send this header.
    async fn load(&self, header: Option<(&str, &str)>) -> Result<Load> {
        // At one rate they would arrive in turn, and a gateway that takes its backends in turn would give each always the same.
        let requests = Requests::through(self.plane, &self.host());
        let requests = match header {
            None => requests.per_second(30),
            Some((name, value)) => requests.header(name, value).per_second(17),
        };
        Load::start(self.shop.cluster(), &requests).await
    }

    /// Which version answers a request with this header.
    async fn answered(&self, (name, value): (&str, &str)) -> Result<String> {
        let request = reqwest::Client::new().get(self.plane.url()).header("Host", self.host());
        let answer = request.header(name, value).send().await?.error_for_status()?;
        let version = answer.headers().get("x-version").context("a version")?;
        Ok(version.to_str()?.to_owned())
    }

    /// Waits until this step waits for this.
    async fn at(&self, what: &str, step: &str, reason: &str) -> Result<CanaryStatus> {
        let there = |s: &CanaryStatus| s.step.as_deref() == Some(step) && s.waits_for(reason);
        self.shop.until(what, there).await
    }

    /// Waits until the gateway has the switch.
    async fn everybody_is_there(&self) -> Result<()> {
        let there = |s: &CanaryStatus| {
            s.traffic
                .as_ref()
                .is_some_and(|t| (t.intended, t.stored, t.accepted) == (100, 100, true))
                && s.waits_for("CheckNotDue")
        };
        self.shop.until("everybody to be there", there).await.map(drop)
    }

    /// How often Tidegate has written the route.
    fn writes(&self) -> Result<usize> {
        let user = "system:serviceaccount:tidegate-system:tidegate";
        let requests = self.shop.cluster().api_requests(user)?;
        let wrote = requests.iter().filter(|r| {
            r.resource == "httproutes"
                && r.namespace == self.shop.namespace()
                && (r.verb == "patch" || r.verb == "update")
                && r.code < 300
        });
        Ok(wrote.count())
    }

    /// When the traffic returned to the Deployment's own pods. Old ones may be among them for as long as the gateway takes to
    /// hear that they go, up to 2 s for Traefik.
    async fn returned(&self) -> Result<f64> {
        let run = self.shop.run().await?.status.context("a status")?;
        let entry = run.history.iter().find(|entry| entry.phase == "Finalising");
        let at = entry.context("the return of the traffic")?.at;
        Ok((at - chrono::DateTime::UNIX_EPOCH).as_seconds_f64())
    }

    /// Waits until the route is as its owner wrote it.
    async fn as_before(&self) -> Result<()> {
        wait_for("the route to be its owner's", ENOUGH, async || {
            let route = self.shop.owned().await?.route;
            ensure!(route == self.route, "{route}\nwas {}", self.route);
            Ok(Some(()))
        })
        .await
    }

    /// Waits for 20 answers to requests that were sent after a moment.
    async fn answers_after(&self, load: &Load, moment: f64) -> Result<()> {
        wait_for("answers", ENOUGH, async || {
            let later = load.each()?.iter().filter(|r| r.sent > moment).count();
            Ok((later >= 20).then_some(()))
        })
        .await
    }
}

/// In Unix seconds.
fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64())
}

/// Who answered the requests that were sent between two moments, and how many of them.
fn versions(load: &Load, from: f64, until: f64) -> Result<BTreeMap<String, usize>> {
    let mut by = BTreeMap::new();
    for request in load.each()?.into_iter().filter(|r| from < r.sent && r.sent < until) {
        *by.entry(request.version).or_default() += 1;
    }
    Ok(by)
}

fn only(seen: &BTreeMap<String, usize>, version: &str) -> bool {
    seen.len() == 1 && seen.contains_key(version)
}
