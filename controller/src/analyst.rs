//! Makes the checks that are due, beside the reconciles: a slow Prometheus delays no abort.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use analysis::{
    ArmContext, Checks, PodAddress, Profile, Protocol, Reading, Readings, Window, judge, queries,
};
use api::{Canary, CanaryRun};
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::ObjectRef;
use providers::metrics::read;
use rollout::{DueCheck, DueVerdict};

use crate::Context;
use crate::world::World;

/// The newest verdict of each canary, by its uid.
#[derive(Debug, Default)]
pub(crate) struct Analyst {
    checks: Mutex<BTreeMap<String, Slot>>,
}

#[derive(Clone, Debug)]
enum Slot {
    Asked(DueCheck),
    Known(DueVerdict),
}

impl Analyst {
    /// The verdict of `due`, if it has been made; else it is being made, and wakes the canary when it is.
    pub(crate) fn verdict(
        &self,
        ctx: &Arc<Context>,
        world: &World,
        run: &CanaryRun,
        checks: &Checks,
        due: DueCheck,
    ) -> Option<DueVerdict> {
        let uid = world.canary.uid().unwrap_or_default();
        let mut slots = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        match slots.get(&uid) {
            Some(Slot::Known(known)) if known.step == due.step && known.due == due.due => {
                return Some(known.clone());
            }
            Some(Slot::Asked(asked)) if asked.step == due.step && asked.due == due.due => {
                return None;
            }
            Some(_) | None => {}
        }
        slots.insert(uid.clone(), Slot::Asked(due));
        let question = Question::new(world, run, checks.clone(), due);
        let ctx = ctx.clone();
        tokio::spawn(async move {
            let canary = question.canary.clone();
            let verdict = question.answer(&ctx).await;
            tracing::debug!(canary = %canary.name, verdict = verdict.verdict.sentence(), "check made");
            ctx.analyst.keep(uid, verdict);
            // Nobody listens only when the controller is stopping.
            let _ = ctx.wake.send(canary);
        });
        None
    }

    fn keep(&self, canary: String, verdict: DueVerdict) {
        let mut slots = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        slots.insert(canary, Slot::Known(verdict));
    }

    /// The run is over, or the canary gone.
    pub(crate) fn forget(&self, canary: &str) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).remove(canary);
    }
}

/// One check, with all that it needs of the world.
struct Question {
    canary: ObjectRef<Canary>,
    checks: Checks,
    due: DueCheck,
    profile: Option<Profile>,
    canary_arm: ArmContext,
    stable_arm: ArmContext,
    /// Selects stable's pods, whose addresses are only known to the API server.
    stable_pods: Option<String>,
}

impl Question {
    fn new(world: &World, run: &CanaryRun, checks: Checks, due: DueCheck) -> Self {
        let target = &world.canary.spec.target_ref.name;
        let arm = |workload: String, service: &str| ArmContext {
            namespace: world.namespace.clone(),
            workload,
            service: service.to_owned(),
            apex: world.backends.service.clone(),
            port: String::new(),
            protocol: Protocol::Http,
            routes: world.routes.names(),
            pods: vec![],
        };
        let mut canary_arm = arm(world.canary_name(), &world.backends.canary);
        canary_arm.pods = addresses(world.canary_pods.iter().map(|pod| &**pod));
        let stable = rollout::Revision::new(run.spec.stable_revision.clone());
        let selector = world.target.as_ref().map(|t| t.spec.selector.to_query());
        Self {
            canary: ObjectRef::from_obj(&*world.canary),
            checks,
            due,
            profile: world.capabilities.profile,
            canary_arm,
            stable_arm: arm(target.clone(), &world.backends.service),
            stable_pods: world.hash_of(&stable).zip(selector).map(|(hash, labels)| {
                let hash = format!("{}={hash}", api::POD_TEMPLATE_HASH);
                // A selector of expressions alone has no labels to narrow it down by.
                if labels.is_empty() { hash } else { format!("{labels},{hash}") }
            }),
        }
    }

    async fn answer(self, ctx: &Context) -> DueVerdict {
        let end: DateTime<Utc> = ctx.clock.now();
        let window = Window { start: self.due.from, end };
        let readings = self.readings(ctx, window).await;
        let verdict = judge(&self.checks, window, &readings);
        DueVerdict { step: self.due.step, due: self.due.due, verdict }
    }

    async fn readings(&self, ctx: &Context, window: Window) -> Readings {
        let Some(profile) = self.profile else { return Readings::default() };
        let mut stable = self.stable_arm.clone();
        if let Some(selector) = self.stable_pods.as_ref().filter(|_| profile.by_pods()) {
            let api: Api<Pod> = Api::namespaced(ctx.client.clone(), &stable.namespace);
            match api.list(&ListParams::default().labels(selector)).await {
                Ok(pods) => stable.pods = addresses(pods.items.iter()),
                Err(error) => {
                    tracing::warn!(error = crate::errors::chain(&error), "stable's pods unknown");
                }
            }
        }
        let stable = self.due.with_stable.then_some(&stable);
        match queries(profile, &self.checks, &self.canary_arm, stable, window) {
            Ok(queries) => read(&*ctx.metrics, queries, window.end).await,
            // Linted before the run began; what is wrong with it all the same is said in the verdict.
            Err(error) => {
                let query = analysis::Query {
                    subject: analysis::Subject::Requests,
                    arm: analysis::Arm::Canary,
                    promql: String::new(),
                };
                let mut readings = Readings::default();
                readings.push(query, Reading::Rejected(crate::errors::chain(&error)));
                readings
            }
        }
    }
}

fn addresses<'a>(pods: impl Iterator<Item = &'a Pod>) -> Vec<PodAddress> {
    let address = |pod: &Pod| {
        let status = pod.status.as_ref()?;
        // The address of one that has ended may be another pod's by now.
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let ip = status.pod_ip.clone()?;
        Some(PodAddress { name: pod.name_any(), ip })
    };
    pods.filter_map(address).collect()
}
