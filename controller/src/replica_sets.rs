//! A target's ReplicaSets: the API server is asked when the Deployment has changed, not at each look.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use rollout::{Pods, Revision};

use crate::Context;
use crate::watched::{Generation, Workload};

/// The Deployment's status says all that matters about its ReplicaSets, but for changes that cancel each other out in its sums.
/// Nothing waits longer than this for those.
const RELIED_ON: TimeDelta = TimeDelta::seconds(10);

/// One of the target's ReplicaSets.
#[derive(Clone, Debug)]
pub(crate) struct Revised {
    pub(crate) name: String,
    pub(crate) revision: Revision,
    /// Its `pod-template-hash`.
    pub(crate) hash: String,
    pub(crate) pods: Pods,
}

/// The last answers, by the Deployment's uid.
#[derive(Debug, Default)]
pub(crate) struct ReplicaSets(Mutex<BTreeMap<String, Answer>>);

#[derive(Debug)]
struct Answer {
    /// The Deployment's resourceVersion when it was given.
    version: Option<String>,
    at: DateTime<Utc>,
    found: Vec<Revised>,
}

impl ReplicaSets {
    /// # Errors
    /// When the API server doesn't say.
    pub(crate) async fn of(
        &self,
        ctx: &Context,
        namespace: &str,
        target: &Workload,
    ) -> Result<Vec<Revised>, kube::Error> {
        let (uid, now) = (target.metadata.uid.clone().unwrap_or_default(), ctx.clock.now());
        if let Some(known) = self.known(&uid, target, now) {
            return Ok(known);
        }
        let found = ask(ctx, namespace, target).await?;
        let version = target.metadata.resource_version.clone();
        let answer = Answer { version, at: now, found: found.clone() };
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, answer| now - answer.at < RELIED_ON);
        if is_settled(target, &found) {
            answers.insert(uid, answer);
        } else {
            answers.remove(&uid);
        }
        Ok(found)
    }

    fn known(&self, uid: &str, target: &Workload, now: DateTime<Utc>) -> Option<Vec<Revised>> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.get(uid)?;
        let same = answer.version == target.metadata.resource_version;
        (same && now - answer.at < RELIED_ON).then(|| answer.found.clone())
    }

    /// We have written to one of them.
    pub(crate) fn forget(&self, target: &Workload) {
        let uid = target.metadata.uid.as_deref().unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The Deployment's status has caught up with its ReplicaSets: whatever they do next, it will change.
fn is_settled(target: &Workload, found: &[Revised]) -> bool {
    let sum = |count: fn(&Pods) -> u32| found.iter().map(|rs| count(&rs.pods)).sum::<u32>();
    let status = &target.status;
    target.current()
        && sum(|pods| pods.existing) == status.replicas
        && sum(|pods| pods.desired) == status.replicas
        && sum(|pods| pods.ready) == status.ready_replicas
        && sum(|pods| pods.available) == status.available_replicas
}

async fn ask(
    ctx: &Context,
    namespace: &str,
    target: &Workload,
) -> Result<Vec<Revised>, kube::Error> {
    let api: Api<Generation> = Api::namespaced(ctx.client.clone(), namespace);
    let selector = ListParams::default().labels(&target.spec.selector.to_query());
    let uid = target.metadata.uid.as_deref();
    let list = api.list(&selector).await?;
    let owned = list.items.into_iter().filter(|rs| {
        rs.owner_references().iter().any(|o| o.controller == Some(true) && Some(&*o.uid) == uid)
    });
    Ok(owned.filter_map(revised).collect())
}

fn revised(rs: Generation) -> Option<Revised> {
    Some(Revised {
        name: rs.name_any(),
        hash: rs.labels().get(api::POD_TEMPLATE_HASH)?.clone(),
        revision: rs.spec.template.revision,
        pods: Pods {
            desired: rs.spec.replicas,
            existing: rs.status.replicas,
            ready: rs.status.ready_replicas,
            available: rs.status.available_replicas,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_that_lags_behind_its_replica_sets_is_not_relied_on() {
        check(1, 2, true);
        check(1, 1, false); // a pod has become ready since
        check(2, 2, false); // a newer template isn't seen to yet
    }

    fn check(generation: i64, ready: u32, settled: bool) {
        let target = json!({
            "metadata": {"generation": generation},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": ready, "availableReplicas": 2},
        });
        let target = serde_json::from_value(target).unwrap();
        let pods = |n| Pods { desired: n, existing: n, ready: n, available: n };
        let of = |n| Revised {
            name: String::new(),
            revision: Revision::new("a"),
            hash: String::new(),
            pods: pods(n),
        };
        assert_eq!(is_settled(&target, &[of(2), of(0)]), settled);
    }
}
