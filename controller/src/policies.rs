//! The admission policy that holds new revisions comes and goes. It is watched, so that each canary is proved again when it has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::Canary;
use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::task::JoinSet;

use crate::caches::Wake;

const GROUP: &str = "admissionregistration.k8s.io";
/// Policy and binding have this name.
const HOLD: &str = "tidegate-hold";
/// The API server takes a second or two until it does as its policies say.
const IN_FORCE: Duration = Duration::from_secs(3);

/// Which canaries were proved since the policy has changed.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    changes: AtomicU64,
    proved: Mutex<BTreeMap<String, u64>>,
}

impl Policies {
    /// Names the policy as it is now, for [`Policies::proved`].
    pub(crate) fn now(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Whether this canary was proved with the policy as it is now.
    pub(crate) fn knows(&self, canary: &Canary) -> bool {
        let proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.get(&canary.uid().unwrap_or_default()) == Some(&self.now())
    }

    /// The proof of this canary was begun at `at`.
    pub(crate) fn proved(&self, canary: &Canary, at: u64) {
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.insert(canary.uid().unwrap_or_default(), at);
    }

    pub(crate) fn forget(&self, canary: &Canary) {
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.remove(&canary.uid().unwrap_or_default());
    }

    /// Wakes every canary when policy or binding have changed. A server that doesn't know the kinds is asked once only.
    pub(crate) async fn watch(
        self: Arc<Self>,
        client: &Client,
        canaries: &Store<Canary>,
        wake: &Wake,
        tasks: &mut JoinSet<()>,
    ) {
        let known = client.list_api_group_resources(&format!("{GROUP}/v1")).await;
        for (kind, plural) in [
            ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
            ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        ] {
            if known.as_ref().is_ok_and(|k| k.resources.iter().all(|r| r.name != plural)) {
                continue;
            }
            let gvk = GroupVersionKind::gvk(GROUP, "v1", kind);
            let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let (policies, canaries, wake) = (self.clone(), canaries.clone(), wake.clone());
            tasks.spawn(async move { policies.follow(api, &canaries, &wake).await });
        }
    }

    async fn follow(&self, api: Api<DynamicObject>, canaries: &Store<Canary>, wake: &Wake) {
        let config = watcher::Config::default().fields(&format!("metadata.name={HOLD}"));
        let mut stream = watcher::watcher(api, config).default_backoff().boxed();
        let mut listed = false;
        while let Some(event) = stream.next().await {
            match event {
                // The first list is what each canary is proved with anyway.
                Ok(Event::InitDone) if !listed => listed = true,
                Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                    tracing::info!(policy = HOLD, "changed, asking again who holds new revisions");
                    tokio::time::sleep(IN_FORCE).await;
                    self.changes.fetch_add(1, Ordering::Relaxed);
                    for canary in canaries.state() {
                        // Nobody listens only when the controller is stopping.
                        let _ = wake.send(ObjectRef::from_obj(&*canary));
                    }
                }
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, policy = HOLD, "watch interrupted, retrying");
                }
            }
        }
    }
}
