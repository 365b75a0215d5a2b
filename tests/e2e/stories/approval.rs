//! People's say: approvals, who may give them, and what is refused.

use anyhow::{Context, Result, ensure};
use api::{ActionState, ActionVerb, CanaryAction};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tests::{Plane, Release, Status};

use crate::story;

fn approved_at_25() -> Value {
    let held = json!({"weight": 25, "hold": {"untilApproved": true}});
    json!({"steps": [{"weight": 10}, held, {"weight": 50}]})
}

#[test]
fn a_run_waits_at_25_percent_until_it_is_promoted_and_only_as_it_was_seen() -> Result<()> {
    story(async |cluster| {
        let spec = approved_at_25();
        let shop = Release::open(cluster, Plane::Traefik, "approved", spec).await?;
        let (code, said) = shop.tidegate(cluster.admin(), &["promote", "shop"]).await?;
        ensure!(code == 3 && said.contains("no run is on"), "{code}: {said}");
        shop.refused(ActionVerb::Promote, "no run is on").await?;

        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0")).await?;
        shop.until_phase("Progressing").await?;
        shop.refused(ActionVerb::Promote, "").await?;
        let status = shop.until_waiting("AwaitingApproval").await?;
        ensure!(status.step.as_deref() == Some("2/3"), "{status:?}");
        let waiting = status.waiting_for.context("what it waits for")?;
        ensure!(waiting.message == "step 2: waits at 25 % until someone promotes", "{waiting:?}");
        let unblock = waiting.unblock.context("a command")?;
        ensure!(unblock == "tidegate promote shop -n approved", "{unblock}");
        ensure!(waiting.next_at.is_some(), "checks go on: {:?}", waiting.message);

        let refused = async |run: Option<&str>, step: u32, says: &str| {
            let mut asked = shop.action(ActionVerb::Promote);
            (asked.run, asked.step) = (run.map(str::to_owned), Some(step));
            let (state, message) = shop.ask_as(cluster.admin(), asked).await?;
            let so = state == ActionState::Refused && message.contains(says);
            ensure!(so, "{state:?}: {message}");
            Ok(())
        };
        refused(Some("shop-0123456789-1"), 2, "run shop-0123456789-1 is not the run that is on")
            .await?;
        refused(None, 1, "step 1 was seen, but the run is at step 2; look again").await?;

        let (code, said) = shop.tidegate(cluster.admin(), &["promote", "shop"]).await?;
        ensure!(code == 0 && said.contains("accepted by admin"), "{code}: {said}");
        shop.until_phase("Succeeded").await?;
        ensure!(load.stop().await?.failed == 0, "no request fails");
        every_action_is_answered(&shop).await
    })
}

async fn every_action_is_answered(shop: &Release) -> Result<()> {
    let api: Api<CanaryAction> = Api::namespaced(shop.cluster().client(), shop.namespace());
    for action in api.list(&ListParams::default()).await? {
        let status = action.status.as_ref().context("an answer")?;
        let why = status.state == ActionState::Accepted || !status.message.is_empty();
        ensure!(why, "a refusal says why: {action:?}");
    }
    Ok(())
}

#[test]
fn after_the_last_step_the_wait_for_promotion_is_a_phase_of_its_own() -> Result<()> {
    story(async |cluster| {
        let held = json!({"weight": 50, "hold": {"untilApproved": true}});
        let spec = json!({"steps": [{"weight": 10}, held]});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "last-step", spec).await?;
        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0").behaves("ready-after", "2s")).await?;
        let waits = shop.until_phase("WaitingPromotion").await?;
        ensure!(waits.step.as_deref() == Some("2/2"), "{waits:?}");
        shop.until("approval to be waited for", |s| {
            s.phase == "WaitingPromotion" && s.waits_for("AwaitingApproval")
        })
        .await?;
        shop.accepted(ActionVerb::Promote).await?;
        shop.until_phase("Promoting").await?;
        shop.refused(ActionVerb::Promote, "the run is being promoted already").await?;
        shop.refused(ActionVerb::Retry, "the run is still on; abort it first").await?;
        shop.until_phase("Finalising").await?;
        shop.refused(ActionVerb::Promote, "the run is being promoted already").await?;
        shop.until_phase("Succeeded").await?;
        shop.refused(ActionVerb::Promote, "no run is on").await?;
        ensure!(load.stop().await?.failed == 0, "no request fails");
        Ok(())
    })
}

#[test]
fn a_timed_hold_keeps_its_weight_that_long_and_a_promotion_ends_it() -> Result<()> {
    story(async |cluster| {
        let held = json!({"weight": 25, "hold": {"for": "1h"}});
        let spec = json!({"steps": [{"weight": 10, "hold": {"for": "6s"}}, held]});
        let shop = Release::open(cluster, Plane::EnvoyGateway, "timed-hold", spec).await?;
        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0")).await?;
        let second = shop
            .until("the second hold", |s| {
                s.step.as_deref() == Some("2/2") && s.waits_for("HeldForTime")
            })
            .await?;
        ensure!(second.message() == "step 2: stays at 25 % for 1h", "{second:?}");
        let history = shop.run().await?.status.context("a status")?.history;
        let first = |says: &str| history.iter().find(|e| e.message.starts_with(says)).map(|e| e.at);
        let stayed =
            first("step 2").zip(first("step 1: 10 % in effect")).map(|(to, from)| to - from);
        ensure!(stayed.is_some_and(|t| t.num_seconds() >= 6), "10 % for 6 s: {history:?}");
        shop.accepted(ActionVerb::Promote).await?;
        shop.until_phase("Succeeded").await?;
        ensure!(load.stop().await?.failed == 0, "no request fails");
        Ok(())
    })
}

#[test]
fn who_may_only_abort_can_not_promote_and_nobody_can_act_in_another_name() -> Result<()> {
    story(async |cluster| {
        let shop = Release::open(cluster, Plane::EnvoyGateway, "rights", approved_at_25()).await?;
        let rights = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
             "metadata": {"name": "oncall", "namespace": "rights"},
             "rules": [
                {"apiGroups": ["tidegate.dev"], "resources": ["canaries", "canaryruns", "canaryactions"],
                 "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["tidegate.dev"], "resources": ["canaryactions"], "verbs": ["create"]},
                {"apiGroups": ["tidegate.dev"], "resources": ["canaries"], "verbs": ["abort"]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
             "metadata": {"name": "oncall", "namespace": "rights"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "oncall"},
             "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "oncall"}]}]});
        cluster.apply(&rights.to_string()).await?;
        let (oncall, reader) = (cluster.user("oncall").await?, cluster.user("reader").await?);
        let load = shop.load().await?;
        shop.write(&shop.app().version("2.0")).await?;
        shop.until_waiting("AwaitingApproval").await?;

        let (code, said) = shop.tidegate(&oncall, &["promote", "shop"]).await?;
        let needs = "oncall may not promote canary shop; needs the verb promote";
        ensure!(code == 3 && said.contains(needs), "{code}: {said}");
        let (code, said) = shop.tidegate(&reader, &["abort", "shop"]).await?;
        ensure!(code == 3, "{code}: {said}");
        let status = shop.status().await?;
        ensure!(status.waits_for("AwaitingApproval"), "nothing came of it: {status:?}");

        let mut forged = shop.action(ActionVerb::Abort);
        (forged.actor, forged.reason) = (Some("admin".to_owned()), Some("too slow".to_owned()));
        let (state, message) = shop.ask_as(&oncall, forged).await?;
        ensure!(state == ActionState::Accepted, "{message}");
        let status = shop.until_phase("Failed").await?;
        ensure!(status.message().contains("aborted by oncall: too slow"), "{status:?}");
        ensure!(load.stop().await?.failed == 0, "no request fails");
        every_action_is_answered(&shop).await
    })
}
