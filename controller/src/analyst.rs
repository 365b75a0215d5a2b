//! Makes the checks and the looks that are due, beside the reconciles: a slow Prometheus delays no abort.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use analysis::{
    Arm, ArmContext, Checks, PodAddress, Profile, Query, Reading, Readings, Window, judge, queries,
    requests,
};
use api::{Canary, CanaryRun};
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::ObjectRef;
use providers::metrics::read;
use rollout::{DueCheck, DueLook, DueVerdict, Left, Leftover, Sighting};

use crate::Context;
use crate::world::World;

/// The newest answers for each canary.
#[derive(Debug, Default)]
pub(crate) struct Analyst {
    checks: Desk<DueVerdict>,
    looks: Desk<Leftover>,
}

/// The newest question about each canary, by its uid, and its answer once there is one.
#[derive(Debug)]
struct Desk<A>(Mutex<BTreeMap<String, (Id, Option<A>)>>);

/// Tells a question from those before it: the step, where it is about one, and when it became due.
type Id = (usize, DateTime<Utc>);

impl<A> Default for Desk<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<A: Clone> Desk<A> {
    /// The answer, if it is known; else `ask` is called, once.
    fn answer(&self, canary: &str, id: Id, ask: impl FnOnce()) -> Option<A> {
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = desk.get(canary).filter(|(asked, _)| *asked == id) {
            return answer.clone();
        }
        desk.insert(canary.to_owned(), (id, None));
        ask();
        None
    }

    fn keep(&self, canary: String, id: Id, answer: A) {
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desk.insert(canary, (id, Some(answer)));
    }

    fn forget(&self, canary: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(canary);
    }
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
        let id = (due.step, due.due);
        self.checks.answer(&uid.clone(), id, || {
            let question = Question::new(world, run);
            let (ctx, checks) = (ctx.clone(), checks.clone());
            tokio::spawn(async move {
                let verdict = question.check(&ctx, &checks, due).await;
                tracing::debug!(canary = %question.canary.name, verdict = verdict.verdict.sentence(), "check made");
                ctx.analyst.checks.keep(uid, id, verdict);
                question.wake(&ctx);
            });
        })
    }

    /// The same of a look before the canary's pods go.
    pub(crate) fn leftover(
        &self,
        ctx: &Arc<Context>,
        world: &World,
        run: &CanaryRun,
        due: DueLook,
    ) -> Option<Leftover> {
        let uid = world.canary.uid().unwrap_or_default();
        let id = (0, due.due);
        self.looks.answer(&uid.clone(), id, || {
            let question = Question::new(world, run);
            let ctx = ctx.clone();
            tokio::spawn(async move {
                let leftover = question.look(&ctx, due).await;
                tracing::debug!(canary = %question.canary.name, left = ?leftover.left, "looked");
                ctx.analyst.looks.keep(uid, id, leftover);
                question.wake(&ctx);
            });
        })
    }

    /// The run is over, or the canary gone.
    pub(crate) fn forget(&self, canary: &str) {
        self.checks.forget(canary);
        self.looks.forget(canary);
    }
}

/// Both arms, with all that is needed of the world to ask about them.
struct Question {
    canary: ObjectRef<Canary>,
    profile: Option<Profile>,
    canary_arm: ArmContext,
    stable_arm: ArmContext,
    /// Selects stable's pods, whose addresses are only known to the API server.
    stable_pods: Option<String>,
}

impl Question {
    fn new(world: &World, run: &CanaryRun) -> Self {
        let target = &world.canary.spec.target_ref.name;
        let arm = |workload: String, service: &str| ArmContext {
            namespace: world.namespace.clone(),
            workload,
            service: service.to_owned(),
            apex: world.backends.service.clone(),
            port: world.routes.port(&world.backends).unwrap_or_default(),
            protocol: world.routes.protocol(),
            routes: world.routes.names(),
            pods: vec![],
        };
        let mut canary_arm = arm(world.canary_name(), &world.backends.canary);
        canary_arm.pods = addresses(world.canary_pods.iter().map(|pod| &**pod));
        // Who has the requests that the canary hasn't: once it is promoted, the target's pods of the same revision.
        let cursor = run.status.as_ref().and_then(|s| s.cursor.as_ref());
        let promoted = cursor.is_some_and(|c| matches!(&*c.phase, "Promoting" | "Finalising"));
        let serving = if promoted { &run.spec.revision } else { &run.spec.stable_revision };
        let stable = rollout::Revision::new(serving.clone());
        let selector = world.target.as_ref().map(|t| t.spec.selector.to_query());
        Self {
            canary: ObjectRef::from_obj(&*world.canary),
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

    fn wake(self, ctx: &Context) {
        // Nobody listens only when the controller is stopping.
        let _ = ctx.wake.send(self.canary);
    }

    async fn check(&self, ctx: &Context, checks: &Checks, due: DueCheck) -> DueVerdict {
        let window = Window { start: due.from, end: ctx.clock.now() };
        let readings = self.readings(ctx, checks, due.with_stable, window).await;
        let verdict = judge(checks, window, &readings);
        DueVerdict { step: due.step, due: due.due, verdict }
    }

    async fn look(&self, ctx: &Context, due: DueLook) -> Leftover {
        let window = Window { start: due.from, end: ctx.clock.now() };
        let readings = match self.profile {
            Some(profile) => {
                let queries = requests(profile, &self.canary_arm, &self.stable(ctx).await, window);
                read(&*ctx.metrics, queries, window.end).await
            }
            None => Readings::default(),
        };
        Leftover { due: due.due, left: left(&readings, window) }
    }

    /// Stable's arm, with its pods where it is told by them.
    async fn stable(&self, ctx: &Context) -> ArmContext {
        let mut stable = self.stable_arm.clone();
        let by_pods = self.profile.is_some_and(Profile::by_pods);
        if let Some(selector) = self.stable_pods.as_ref().filter(|_| by_pods) {
            let api: Api<Pod> = Api::namespaced(ctx.client.clone(), &stable.namespace);
            match api.list(&ListParams::default().labels(selector)).await {
                Ok(pods) => stable.pods = addresses(pods.items.iter()),
                Err(error) => {
                    tracing::warn!(error = crate::errors::chain(&error), "stable's pods unknown");
                }
            }
        }
        stable
    }

    async fn readings(
        &self,
        ctx: &Context,
        checks: &Checks,
        with_stable: bool,
        window: Window,
    ) -> Readings {
        let Some(profile) = self.profile else { return Readings::default() };
        let stable = self.stable(ctx).await;
        let stable = with_stable.then_some(&stable);
        match queries(profile, checks, &self.canary_arm, stable, window) {
            Ok(queries) => read(&*ctx.metrics, queries, window.end).await,
            // Linted before the run began; what is wrong with it all the same is said in the verdict.
            Err(error) => {
                let query = Query {
                    subject: analysis::Subject::Requests,
                    arm: Arm::Canary,
                    promql: String::new(),
                };
                let mut readings = Readings::default();
                readings.push(query, Reading::Rejected(crate::errors::chain(&error)));
                readings
            }
        }
    }
}

/// What the counts of both arms say. A series that isn't there counts nothing; half an answer is none.
fn left(readings: &Readings, window: Window) -> Left {
    let (mut canary, mut all) = (0, 0);
    for (query, reading) in readings.iter() {
        let requests = match reading {
            Reading::Value(value) if value.is_finite() => whole(*value),
            Reading::Empty => 0,
            Reading::Value(value) => {
                return Left::Unseen { why: format!("requests of {}: {value}", query.arm) };
            }
            Reading::Unavailable(why) | Reading::Rejected(why) => {
                return Left::Unseen { why: format!("requests of {}: {why}", query.arm) };
            }
        };
        all += requests;
        canary += if query.arm == Arm::Canary { requests } else { 0 };
    }
    match canary {
        0 => Left::None,
        canary => Left::Requests(Sighting { from: window.start, to: window.end, canary, all }),
    }
}

/// Rounded up: Prometheus' counts are extrapolated, and what was seen is never rounded away.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of requests: the cast stops at 0 and at the largest number"
)]
fn whole(requests: f64) -> u64 {
    requests.ceil() as u64
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

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(canary: Reading, stable: Reading) -> Readings {
        let query =
            |arm| Query { subject: analysis::Subject::Requests, arm, promql: String::new() };
        [(query(Arm::Canary), canary), (query(Arm::Stable), stable)].into_iter().collect()
    }

    #[test]
    fn what_is_left_is_counted_and_half_an_answer_is_none() {
        use Reading::{Empty, Rejected, Unavailable, Value};
        let end = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(30);
        let window = Window { start: DateTime::UNIX_EPOCH, end };
        let says = |canary, stable| left(&readings(canary, stable), window);
        let requests = |canary, all| {
            Left::Requests(Sighting { from: window.start, to: window.end, canary, all })
        };
        assert_eq!(says(Value(0.0), Value(1204.0)), Left::None);
        assert_eq!(says(Empty, Value(1204.0)), Left::None);
        assert_eq!(says(Empty, Empty), Left::None);
        assert_eq!(says(Value(12.0), Value(1192.0)), requests(12, 1204));
        assert_eq!(says(Value(0.2), Empty), requests(1, 1));
        for (canary, stable) in [
            (Unavailable("down".to_owned()), Value(1.0)),
            (Value(0.0), Unavailable("down".to_owned())),
            (Value(12.0), Rejected("down".to_owned())),
            (Value(f64::NAN), Value(1.0)),
        ] {
            let Left::Unseen { why } = says(canary, stable) else { panic!("an answer") };
            assert!(why.contains("down") || why.contains("NaN"), "{why}");
        }
    }
}
