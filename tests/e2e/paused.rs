//! What the Deployment controller does with a paused Deployment: the facts that undoing a promotion leans on.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{App, Cluster, scenario, wait_for};

const ENOUGH: Duration = Duration::from_secs(30);

/// A Deployment `shop` of four pods, and its ReplicaSets by version.
struct Shop<'a> {
    cluster: &'a Cluster,
    namespace: &'static str,
    /// Merged into the Deployment's spec.
    spec: Value,
}

impl<'a> Shop<'a> {
    async fn open(cluster: &'a Cluster, namespace: &'static str, spec: Value) -> Result<Self> {
        let shop = Self { cluster, namespace, spec };
        cluster.namespace(namespace).await?;
        shop.apply(&shop.app("1.0")).await?;
        cluster.rolled_out(namespace, "shop").await?;
        Ok(shop)
    }

    fn app(&self, version: &str) -> App {
        App::new("shop", self.namespace).version(version).replicas(4)
    }

    async fn apply(&self, app: &App) -> Result<()> {
        let mut deployment = app.deployment();
        for (field, value) in self.spec.as_object().into_iter().flatten() {
            deployment["spec"][field] = value.clone();
        }
        self.cluster.apply(&deployment.to_string()).await
    }

    async fn kubectl(&self, args: &str) -> Result<String> {
        let args: Vec<&str> = ["-n", self.namespace].into_iter().chain(args.split(' ')).collect();
        self.cluster.kubectl(&args).await
    }

    /// Name, wanted and ready pods of the ReplicaSet of a version.
    async fn replica_set(&self, version: &str) -> Result<Option<(String, u64, u64)>> {
        let sets: Value = serde_json::from_str(&self.kubectl("get replicasets -o json").await?)?;
        let image = |set: &Value| {
            let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
            image.as_str().is_some_and(|i| i.ends_with(&format!(":{version}")))
        };
        Ok(sets["items"].as_array().into_iter().flatten().find(|set| image(set)).map(|set| {
            let ready = set["status"]["readyReplicas"].as_u64().unwrap_or_default();
            let name = set["metadata"]["name"].as_str().unwrap_or_default();
            (name.to_owned(), set["spec"]["replicas"].as_u64().unwrap_or_default(), ready)
        }))
    }

    async fn name(&self, version: &str) -> Result<String> {
        self.replica_set(version).await?.map(|set| set.0).context("no such ReplicaSet")
    }

    /// Those that aren't going.
    async fn pods(&self) -> Result<BTreeSet<String>> {
        let pods: Value = serde_json::from_str(&self.kubectl("get pods -o json").await?)?;
        let metadata = pods["items"].as_array().into_iter().flatten().map(|pod| &pod["metadata"]);
        let staying = metadata.filter(|m| m["deletionTimestamp"].is_null());
        Ok(staying.map(|m| m["name"].to_string()).collect())
    }

    /// Waits until a version has this many pods, wanted and ready.
    async fn comes_to(&self, version: &str, pods: (u64, u64)) -> Result<()> {
        let what = format!("{} pods of {version}, {} ready", pods.0, pods.1);
        wait_for(&what, ENOUGH, async || {
            let set = self.replica_set(version).await?;
            let now = set.map_or((0, 0), |(_, wanted, ready)| (wanted, ready));
            Ok((now == pods).then_some(()))
        })
        .await
    }

    /// Waits until the Deployment controller has seen that it is paused: no step of a roll is under way any more.
    async fn pause(&self) -> Result<()> {
        self.kubectl("rollout pause deployment shop").await?;
        wait_for("the pause to be seen", ENOUGH, async || {
            let text = self.kubectl("get deployment shop -o json").await?;
            let shop: Value = serde_json::from_str(&text)?;
            Ok((shop["status"]["observedGeneration"] == shop["metadata"]["generation"])
                .then_some(()))
        })
        .await
    }

    async fn undo(&self) -> Result<()> {
        self.pause().await?;
        self.kubectl(&format!("delete replicaset {}", self.name("2.0").await?)).await?;
        self.comes_to("1.0", (4, 4)).await
    }
}

#[test]
fn without_the_new_replica_set_a_half_done_roll_goes_back() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "half", json!({"revisionHistoryLimit": 0})).await?;
        shop.apply(&shop.app("2.0").behaves("ready", "never")).await?;
        shop.comes_to("2.0", (2, 0)).await?;
        shop.undo().await
    })
}

#[test]
fn without_the_new_replica_set_a_complete_roll_goes_back() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "whole", json!({})).await?;
        shop.apply(&shop.app("2.0")).await?;
        cluster.rolled_out("whole", "shop").await?;
        shop.undo().await?;
        let before = shop.pods().await?;

        // The owner reverts, it is let go: nothing restarts.
        shop.apply(&shop.app("1.0")).await?;
        shop.kubectl("rollout resume deployment shop").await?;
        cluster.rolled_out("whole", "shop").await?;
        let after = shop.pods().await?;
        ensure!(before == after, "the same pods: {before:?} {after:?}");

        // The same revision once more: it rolls as if it never had been there.
        shop.apply(&shop.app("2.0")).await?;
        cluster.rolled_out("whole", "shop").await?;
        shop.comes_to("2.0", (4, 4)).await
    })
}

#[test]
fn the_newest_of_the_replica_sets_left_gets_the_pods_and_is_not_always_the_old_revision()
-> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "older", json!({})).await?;
        // 1.0 was reverted to: its ReplicaSet is older than that of 0.9.
        for version in ["0.9", "1.0", "2.0"] {
            shop.apply(&shop.app(version)).await?;
            cluster.rolled_out("older", "shop").await?;
        }
        shop.pause().await?;
        shop.kubectl(&format!("delete replicaset {}", shop.name("2.0").await?)).await?;
        shop.comes_to("0.9", (4, 4)).await?;
        // Scaled to 0 alone it would come back; once the old revision has a pod it doesn't.
        let (old, other) = (shop.name("1.0").await?, shop.name("0.9").await?);
        shop.kubectl(&format!("scale replicaset {old} --replicas 4")).await?;
        shop.kubectl(&format!("scale replicaset {other} --replicas 0")).await?;
        shop.comes_to("1.0", (4, 4)).await?;
        shop.comes_to("0.9", (0, 0)).await
    })
}

#[test]
fn scaling_the_new_replica_set_of_a_complete_roll_down_brings_nothing_back() -> Result<()> {
    scenario(&[], async |cluster| {
        let shop = Shop::open(cluster, "scaled", json!({})).await?;
        shop.apply(&shop.app("2.0")).await?;
        cluster.rolled_out("scaled", "shop").await?;
        shop.pause().await?;
        let (old, new) = (shop.name("1.0").await?, shop.name("2.0").await?);
        // A new ReplicaSet that has all its pods makes the old one go, paused or not.
        shop.kubectl(&format!("scale replicaset {old} --replicas 4")).await?;
        shop.comes_to("1.0", (0, 0)).await?;
        // Where none has pods, the new one gets them.
        shop.kubectl(&format!("scale replicaset {new} --replicas 0")).await?;
        shop.comes_to("2.0", (4, 4)).await
    })
}

#[test]
fn a_newer_revision_in_a_half_done_roll_leaves_the_one_that_is_scaled_not_to_zero() -> Result<()> {
    scenario(&[], async |cluster| {
        let spec = json!({"minReadySeconds": 3});
        let shop = Shop::open(cluster, "newer", spec).await?;
        shop.apply(&shop.app("2.0")).await?;
        shop.comes_to("2.0", (2, 2)).await?;
        shop.pause().await?;
        shop.apply(&shop.app("3.0")).await?;
        let old = shop.name("1.0").await?;
        shop.kubectl(&format!("scale replicaset {old} --replicas 0")).await?;
        shop.comes_to("2.0", (4, 4)).await?;
        ensure!(shop.replica_set("3.0").await?.is_none(), "the newest is held");
        Ok(())
    })
}
