//! Why pods aren't ready, in their containers' own words.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

/// Crashes of one container before a crash loop counts as final. The kubelet's back-off makes that a minute and more, so what
/// crashes once because its database starts later is not taken for broken.
const CRASHES: i32 = 3;

/// A container that can't run, whatever one waits for: only another revision helps. Not a missing Secret, a failed pull or a
/// full node: someone may mend those, and the progress deadline ends what nobody does.
pub(crate) fn broken(pods: &[Arc<Pod>]) -> Option<String> {
    pods.iter().find_map(|pod| {
        let (container, reason, message) = containers(pod).find_map(|c| {
            let waiting = c.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting.reason.as_deref()?;
            let last = match reason {
                "CrashLoopBackOff" if c.restart_count >= CRASHES => Some(last_words(c)),
                "InvalidImageName" | "ErrImageNeverPull" => waiting.message.clone(),
                _ => return None,
            };
            Some((c.name.clone(), reason.to_owned(), last))
        })?;
        Some(sentence(pod, &container, &reason, message.as_deref()))
    })
}

/// What else keeps a pod from being ready: the first that says something.
pub(crate) fn waiting(pods: &[Arc<Pod>]) -> Option<String> {
    pods.iter().find_map(|pod| {
        let blocked = containers(pod).find_map(|c| {
            let waiting = c.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting.reason.as_deref()?;
            let starting = matches!(reason, "ContainerCreating" | "PodInitializing");
            (!starting).then(|| sentence(pod, &c.name, reason, waiting.message.as_deref()))
        });
        blocked.or_else(|| unschedulable(pod))
    })
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let stuck = conditions
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("Unschedulable"))?;
    let message = stuck.message.as_deref().unwrap_or_default();
    Some(format!("pod {} can't be scheduled: {}", pod.name_any(), short(message)))
}

fn sentence(pod: &Pod, container: &str, reason: &str, message: Option<&str>) -> String {
    let message = message.map(|m| format!(": {}", short(m))).unwrap_or_default();
    format!("container {container} of pod {} is in {reason}{message}", pod.name_any())
}

/// How a crashing container ended the last time.
fn last_words(c: &ContainerStatus) -> String {
    let crashes = format!("{} restarts", c.restart_count);
    let Some(ended) = c.last_state.as_ref().and_then(|s| s.terminated.as_ref()) else {
        return crashes;
    };
    let reason = ended.reason.as_deref().unwrap_or("Error");
    let message = ended.message.as_deref().map(|m| format!(", {}", short(m))).unwrap_or_default();
    format!("{crashes}, last exit code {} ({reason}{message})", ended.exit_code)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|s| s.init_container_statuses.iter().chain(&s.container_statuses).flatten())
}

/// The first line, cut to what a condition can carry.
pub(crate) fn short(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    line.chars().take(160).collect()
}
