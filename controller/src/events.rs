//! Events about canaries, on the clock that was handed in and with the state machine's own reasons.

use api::Canary;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};

use crate::Context;
use crate::time::to_kube_micro;

/// The API's limit for a note is 1 kB.
const NOTE: usize = 1000;

/// What is said about a canary.
pub(crate) struct Notice<'a> {
    /// Names the event, so that one thing that happened is one event, whatever is repeated.
    pub(crate) name: String,
    pub(crate) reason: &'a str,
    pub(crate) note: &'a str,
    pub(crate) warning: bool,
}

/// Best effort: an event that can't be written holds nothing up.
pub(crate) async fn publish(ctx: &Context, canary: &Canary, notice: Notice<'_>) {
    let namespace = canary.namespace().unwrap_or_default();
    let note: String = notice.note.chars().take(NOTE).collect();
    let event = Event {
        metadata: ObjectMeta { name: Some(notice.name), ..ObjectMeta::default() },
        event_time: Some(to_kube_micro(ctx.clock.now())),
        action: Some(notice.reason.to_owned()),
        reason: Some(notice.reason.to_owned()),
        note: Some(note),
        regarding: Some(canary.object_ref(&())),
        reporting_controller: Some("tidegate.dev/controller".to_owned()),
        reporting_instance: Some("tidegate".to_owned()),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(ctx.client.clone(), &namespace);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {} // it has been said
        Err(error) => {
            let error = crate::errors::chain(&error);
            tracing::warn!(error, reason = notice.reason, "event not written");
        }
    }
}
