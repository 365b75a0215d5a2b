//! Bad versions.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use api::ActionVerb;
use serde_json::json;
use tests::{App, Load, Plane, Release, Status, Summary};

use crate::story;

/// Of a release that failed.
struct Failed {
    shop: Release,
    load: Load,
    /// Stable's pods.
    pods: BTreeMap<String, String>,
}

impl Failed {
    /// Deploys a bad version under load and waits until it is rolled back, for a reason that says this.
    async fn release(
        shop: Release,
        bad: &App,
        says: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Self> {
        let pods = shop.pods().await?;
        let load = shop.load().await?;
        shop.write(bad).await?;
        let status = shop.until_phase("Failed").await?;
        let run = shop.run().await?;
        let run_says = run.status.context("a status")?.message;
        says(&run_says).map_err(|missing| anyhow::anyhow!("{missing} is not in {run_says:?}"))?;
        let sentence = run_says.strip_prefix("rolled back: ").context("how it ended")?;
        ensure!(status.message().contains(sentence), "the status says why: {status:?}");
        let promoted = status.condition("Promoted").context("a condition")?;
        ensure!(promoted.status == "False" && promoted.message == run_says, "{promoted:?}");
        ensure!(status.condition("Stalled").is_some_and(|c| c.status == "True"), "{status:?}");
        let events = shop.events().await?;
        let told = format!("RolledBack: {run_says}");
        ensure!(events.contains(&told), "an event says why: {events:?}");
        let failed = Self { shop, load, pods };
        failed.held().await?;
        Ok(failed)
    }

    /// The bad version is in the Deployment, and does not run.
    async fn held(&self) -> Result<()> {
        self.shop.no_canary_left().await?;
        let pods = self.shop.pods().await?;
        ensure!(pods == self.pods, "stable's pods are the same: {pods:?}, before {:?}", self.pods);
        let owned = self.shop.owned().await?;
        ensure!(owned.deployment["spec"]["paused"] == true, "{}", owned.deployment);
        ensure!(owned.service["spec"]["selector"] == json!({"app": "shop"}), "{}", owned.service);
        let backends = &owned.route["spec"]["rules"][0]["backendRefs"];
        ensure!(backends.as_array().is_some_and(|b| b.len() == 1), "{backends}");
        Ok(())
    }

    /// The owner puts the old version back, and nothing is restarted; all requests that failed were the bad version's own.
    async fn revert(self) -> Result<(Release, Summary)> {
        let Self { shop, load, pods } = self;
        shop.write(&shop.app()).await?;
        shop.until_phase("Idle").await?;
        ensure!(shop.pods().await? == pods, "nothing was restarted");
        let owned = shop.owned().await?;
        ensure!(owned.deployment["spec"]["paused"].is_null(), "{}", owned.deployment);
        shop.in_sync(&shop.app()).await?;
        let summary = load.stop().await?;
        ensure!(summary.lost == 0, "{summary:?}");
        ensure!(summary.failed == summary.failed_by("2.0"), "{summary:?}");
        Ok((shop, summary))
    }
}

fn all_of(parts: &'static [&'static str]) -> impl Fn(&str) -> Result<(), String> {
    move |text| match parts.iter().find(|part| !text.contains(**part)) {
        Some(missing) => Err(format!("{missing:?}")),
        None => Ok(()),
    }
}

const MANY_CHECKS: [(u8, u32); 3] = [(10, 4), (25, 4), (50, 10)];

fn many_checks() -> serde_json::Value {
    let steps = MANY_CHECKS.map(|(weight, checks)| json!({"weight": weight, "checks": checks}));
    json!({"steps": steps})
}

#[test]
fn five_percent_errors_are_rolled_back_by_numbers_reverted_and_followed_by_a_good_version()
-> Result<()> {
    story(async |cluster| {
        let shop = Release::open(cluster, Plane::Traefik, "errors", many_checks()).await?;
        let bad = shop.app().version("2.0").behaves("error-rate", "0.05");
        let says = all_of(&[
            "failed check 2 of 2: success-rate ",
            " % < 99 % (stable 100 %), ",
            " requests in ",
        ]);
        let failed = Failed::release(shop, &bad, says).await?;
        let (shop, summary) = failed.revert().await?;
        let served = cluster.served("errors").await?;
        ensure!(served.with_code("2.0", 500) == summary.failed, "{served:?}, {summary:?}");
        ensure!(summary.failed > 0 && summary.by("2.0") < summary.requests / 4, "{summary:?}");

        let load = shop.load().await?;
        shop.write(&shop.app().version("2.1")).await?;
        shop.until_phase("Succeeded").await?;
        ensure!(load.stop().await?.failed == 0, "no request fails");
        Ok(())
    })
}

#[test]
fn a_slow_tail_is_rolled_back_on_envoy_gateway() -> Result<()> {
    story(async |cluster| {
        let shop = Release::open(cluster, Plane::EnvoyGateway, "slow-envoy", many_checks()).await?;
        slow_tail(shop).await
    })
}

#[test]
fn a_slow_tail_is_rolled_back_on_traefik() -> Result<()> {
    story(async |cluster| {
        let shop = Release::open(cluster, Plane::Traefik, "slow-traefik", many_checks()).await?;
        slow_tail(shop).await
    })
}

async fn slow_tail(shop: Release) -> Result<()> {
    let bad = shop.app().version("2.0").behaves("slow-rate", "0.1").behaves("slow-ms", "1500");
    let says = all_of(&["failed check 2 of 2: p99 ", " ms > 500 ms (stable ", " requests in "]);
    let failed = Failed::release(shop, &bad, says).await?;
    let (_, summary) = failed.revert().await?;
    ensure!(summary.failed == 0, "slow is no failure: {summary:?}");
    Ok(())
}

#[test]
fn a_crash_loop_is_rolled_back_with_the_container_s_reason_and_tried_again_when_asked() -> Result<()>
{
    story(async |cluster| {
        let shop = Release::open(cluster, Plane::EnvoyGateway, "crashes", json!({})).await?;
        let bad = shop.app().version("2.0").behaves("crash", "loop").behaves("crash-code", "3");
        let says =
            all_of(&["container app of pod shop-canary-", "CrashLoopBackOff", "exit code 3"]);
        let failed = Failed::release(shop, &bad, says).await?;
        let shop = &failed.shop;
        let first = shop.run().await?;
        shop.refused(ActionVerb::Promote, "no run is on").await?;
        shop.refused(ActionVerb::Abort, "no run is on").await?;
        let waits = shop.status().await?.waiting_for.context("what it waits for")?;
        ensure!(waits.reason == "StillHeld", "{waits:?}");
        let unblock = waits.unblock.context("a command")?;
        ensure!(unblock == "tidegate retry shop -n crashes", "{unblock}");
        let (code, said) = shop.tidegate(cluster.admin(), &["retry", "shop"]).await?;
        ensure!(code == 0 && said.contains("accepted by admin"), "{code}: {said}");
        shop.until_phase("Progressing").await?;
        let second = shop.run().await?;
        ensure!(second.metadata.name != first.metadata.name, "another run: {second:?}");
        ensure!(second.spec.revision == first.spec.revision, "of the same revision: {second:?}");
        shop.refused(ActionVerb::Retry, "the run is still on").await?;
        shop.until_phase("Failed").await?;
        failed.held().await?;
        let (shop, summary) = failed.revert().await?;
        ensure!(summary.failed == 0, "no request fails: {summary:?}");
        shop.refused(ActionVerb::Retry, "no revision is held after a failed run").await
    })
}

#[test]
fn a_version_that_is_never_ready_is_rolled_back_at_its_deadline() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"progressDeadline": "6s"});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "never-ready", spec).await?;
        let bad = shop.app().version("2.0").behaves("ready", "never");
        let says = all_of(&["took too long: step 1: 0 of 1 canary pods ready"]);
        let failed = Failed::release(shop, &bad, says).await?;
        let (_, summary) = failed.revert().await?;
        ensure!(summary.failed == 0 && summary.by("2.0") == 0, "{summary:?}");
        Ok(())
    })
}

#[test]
fn a_version_that_breaks_while_it_serves_everything_is_rolled_back() -> Result<()> {
    story(async |cluster| {
        let spec = json!({"steps": [{"weight": 100, "checks": 20}]});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "breaks", spec).await?;
        let bad = shop.app().version("2.0").behaves("error-rate", "0.2");
        let says = all_of(&["success-rate ", " % < 99 %, "]);
        let failed = Failed::release(shop, &bad, says).await?;
        failed.revert().await.map(drop)
    })
}
