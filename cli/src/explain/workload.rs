//! The links that Tidegate and Kubernetes themselves are: the controller, the Deployment, the run, pods, Services, endpoints.

use std::collections::BTreeMap;

use api::{Condition, PIN_LABEL, POD_TEMPLATE_HASH};
use chrono::TimeDelta;
use serde_json::Value;

use super::facts::Facts;
use super::link::{Break, State, count};
use super::object::{
    condition, label, list, lives, map, name, namespace, number, query, ready, says, text, unmet,
};
use crate::clock::span;

/// A controller that is up looks within this time after the one that it has named.
const LATE: TimeDelta = TimeDelta::seconds(15);

pub(super) fn controller(facts: &Facts) -> State {
    let generation = facts.canary.metadata.generation;
    let Some(status) = facts.canary.status.as_ref().filter(|s| !s.phase.is_empty()) else {
        return no_controller(
            facts,
            "no controller has looked at this canary yet",
            "no status".to_owned(),
            "a status",
        );
    };
    if generation > status.observed_generation {
        let of = |generation: Option<i64>| generation.unwrap_or_default();
        return no_controller(
            facts,
            "the spec was changed, and no controller has looked at it since",
            format!(
                "generation {} of the spec, {} in the status",
                of(generation),
                of(status.observed_generation)
            ),
            "the same in both, within a second or two",
        );
    }
    let next = status.waiting_for.as_ref().and_then(|w| w.next_at);
    match next.map(|next| facts.now - next) {
        Some(late) if late > LATE => no_controller(
            facts,
            "the controller is overdue, so nothing moves",
            format!("it was to look {} ago (status.waitingFor.nextAt)", span(late)),
            "a look at that time",
        ),
        Some(early) if early < TimeDelta::zero() => {
            State::holds(format!("has seen the spec, and looks again in {}", span(-early)))
        }
        Some(_) | None => State::holds("has seen the spec"),
    }
}

fn no_controller(facts: &Facts, says: &str, read: String, expected: &str) -> State {
    let mut next = vec!["kubectl get pods -A -l app.kubernetes.io/name=tidegate".to_owned()];
    let mut read = read;
    match facts.controllers.as_deref() {
        Ok([]) => read += "; no deployment with the label app.kubernetes.io/name=tidegate",
        Ok([deployment, ..]) => {
            let (space, name) = (namespace(deployment), name(deployment));
            let (ready, wanted) =
                (number(deployment, "/status/readyReplicas"), number(deployment, "/spec/replicas"));
            read = format!("{read}; deployment {space}/{name} has {ready} of {wanted} pods ready");
            if wanted == 0 {
                next.push(format!("kubectl scale deployment {name} -n {space} --replicas 1"));
            } else {
                next.push(format!("kubectl logs deployment/{name} -n {space} --tail 50"));
            }
        }
        Err(_) => {}
    }
    Break { says: says.to_owned(), read, expected: expected.to_owned(), next }.into()
}

pub(super) fn target(facts: &Facts) -> State {
    let (name, space) = (facts.target_name(), facts.namespace());
    let look = format!("kubectl get deployments -n {space}");
    let target = match &facts.target {
        Ok(Some(target)) => target,
        Ok(None) => {
            return Break {
                says: format!("there is no deployment/{name} in namespace {space}"),
                read: "spec.targetRef.name names it".to_owned(),
                expected: "a deployment of that name".to_owned(),
                next: vec![look],
            }
            .into();
        }
        Err(blind) => return blind.clone().into(),
    };
    let paused = target.pointer("/spec/paused") == Some(&Value::Bool(true));
    if paused && label(target, api::CANARY_LABEL) != Some(facts.name()) {
        return Break {
            says: format!("deployment/{name} is paused by its owner, so nobody knows what serves"),
            read: "spec.paused: true, and not by Tidegate".to_owned(),
            expected: "not paused; Tidegate holds new revisions itself".to_owned(),
            next: vec![look, format!("kubectl rollout resume deployment {name} -n {space}")],
        }
        .into();
    }
    let wanted = target.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let ready = number(target, "/status/readyReplicas");
    if ready == 0 {
        let says = if wanted == 0 {
            format!("deployment/{name} is scaled to 0: there is nothing to compare a canary with")
        } else {
            format!("no pod of deployment/{name} is ready: stable itself does not serve")
        };
        return Break {
            says,
            read: format!("{ready} of {wanted} pods ready"),
            expected: "at least one".to_owned(),
            next: vec![
                format!("kubectl describe deployment {name} -n {space}"),
                format!("kubectl get pods -n {space} -l {}", selector_of(target)),
            ],
        }
        .into();
    }
    let held = if paused { ", a new revision is held" } else { "" };
    State::holds(format!("deployment/{name}: {ready} of {wanted} pods ready{held}"))
}

fn selector_of(deployment: &Value) -> String {
    query(&map(deployment, "/spec/selector/matchLabels"))
}

/// The user's own Service selects the pods of the Deployment, and they are behind it.
pub(super) fn labels(facts: &Facts) -> State {
    let (name, space) = (facts.service_name(), facts.namespace());
    let service = match &facts.service {
        Ok(Some(service)) => service,
        Ok(None) => {
            return Break {
                says: format!("there is no service/{name} in namespace {space}"),
                read: "spec.traffic.service.name names it".to_owned(),
                expected: "the service that clients call".to_owned(),
                next: vec![format!("kubectl get services -n {space}")],
            }
            .into();
        }
        Err(blind) => return blind.clone().into(),
    };
    let selector = map(service, "/spec/selector");
    let Ok(Some(target)) = &facts.target else {
        return State::unknown("the deployment's labels could not be read");
    };
    let labels = map(target, "/spec/template/metadata/labels");
    let mut own = selector.clone();
    own.remove(POD_TEMPLATE_HASH);
    if own.is_empty() {
        return Break {
            says: format!("service/{name} has no selector, so it selects no pods"),
            read: "spec.selector: none".to_owned(),
            expected: format!("some of the pods' labels: {}", selector_of(target)),
            next: vec![look_at_labels(facts, target)],
        }
        .into();
    }
    if let Some((key, value)) = unmet(&own, &labels) {
        let has = labels.get(key).map_or("no such label".to_owned(), |v| format!("{key}={v}"));
        return Break {
            says: format!(
                "service/{name} does not select the pods of deployment/{}",
                facts.target_name()
            ),
            read: format!("the service asks for {key}={value}, the pods have {has}"),
            expected: "every label that the service asks for on the pods".to_owned(),
            next: vec![
                look_at_labels(facts, target),
                format!("kubectl get service {name} -n {space} -o jsonpath='{{.spec.selector}}'"),
            ],
        }
        .into();
    }
    let pods = facts.selected_pods();
    if let (Some(hash), []) = (selector.get(POD_TEMPLATE_HASH), pods.as_slice()) {
        let ours = label(service, PIN_LABEL).is_some();
        let who = if ours { "Tidegate pinned it" } else { "somebody pinned it" };
        return Break {
            says: format!("service/{name} is pinned to a revision that has no pods"),
            read: format!("{who} to {POD_TEMPLATE_HASH}={hash}"),
            expected: "the hash of pods that are there".to_owned(),
            next: vec![look_at_labels(facts, target)],
        }
        .into();
    }
    let what = if facts.by_selector() { "selected" } else { "stable" };
    let side = Side { service, pods: &pods, what };
    side.state(facts, || format!("service/{name} selects them by {}", query(&own)))
}

fn look_at_labels(facts: &Facts, target: &Value) -> String {
    format!("kubectl get pods -n {} -l {} --show-labels", facts.namespace(), selector_of(target))
}

/// A Service and the pods that are to be behind it.
struct Side<'a> {
    service: &'a Value,
    pods: &'a [&'a Value],
    what: &'static str,
}

impl Side<'_> {
    /// Whether there are addresses behind the Service, with ports.
    fn state(&self, facts: &Facts, holds: impl Fn() -> String) -> State {
        let service = name(self.service);
        if let Err(blind) = &facts.slices {
            return blind.clone().into();
        }
        let slices = facts.slices_of(service);
        let endpoints = || slices.iter().flat_map(|s| list(s, "/endpoints"));
        let serves = |e: &&Value| e.pointer("/conditions/ready") != Some(&Value::Bool(false));
        let addresses = endpoints().filter(serves).count();
        let pods = self.pods.iter().filter(|pod| ready(pod)).count();
        if pods == 0 {
            return State::holds(holds());
        }
        let portless = addresses > 0 && slices.iter().all(|s| list(s, "/ports").is_empty());
        if portless || addresses == 0 {
            return self.without_addresses(facts, addresses, pods);
        }
        State::holds(holds())
    }

    fn without_addresses(&self, facts: &Facts, addresses: usize, pods: usize) -> State {
        let (service, space) = (name(self.service), facts.namespace());
        let lost = self.lost_port();
        let says = match &lost {
            Some((port, _)) => format!(
                "service/{service} leads to the container port {port:?}, and no {} pod has one of that name",
                self.what
            ),
            None => format!("service/{service} has no address of a ready {} pod", self.what),
        };
        let read = match lost {
            Some((_, has)) => format!(
                "{}; the pods have {has}",
                count(addresses, "address without a port", "addresses without a port")
            ),
            None => {
                format!("{addresses} ready addresses, {}", count(pods, "ready pod", "ready pods"))
            }
        };
        Break {
            says,
            read,
            expected: format!("an address with a port of each ready {} pod", self.what),
            next: vec![
                format!(
                    "kubectl get endpointslices -n {space} -l kubernetes.io/service-name={service}"
                ),
                format!(
                    "kubectl get service {service} -n {space} -o jsonpath='{{.spec.ports}}{{\"\\n\"}}{{.spec.selector}}'"
                ),
                format!("kubectl get pods -n {space} -l {} --show-labels", query(&map(self.service, "/spec/selector"))),
            ],
        }
        .into()
    }

    /// A named port that no pod has, and those that they have.
    fn lost_port(&self) -> Option<(String, String)> {
        let has: Vec<&str> = self
            .pods
            .iter()
            .flat_map(|pod| list(pod, "/spec/containers"))
            .flat_map(|c| list(c, "/ports"))
            .map(|port| text(port, "/name"))
            .collect();
        let named =
            |port: &Value| port.get("targetPort").and_then(Value::as_str).map(str::to_owned);
        let mut wanted = list(self.service, "/spec/ports").iter().filter_map(named);
        let lost = wanted.find(|port| !has.contains(&port.as_str()))?;
        let mut has: Vec<_> = has.into_iter().filter(|n| !n.is_empty()).collect();
        has.sort_unstable();
        has.dedup();
        let has = if has.is_empty() { "none with a name".to_owned() } else { has.join(", ") };
        Some((lost, has))
    }
}

/// Whether anything is to reach a canary at all.
pub(super) fn run(facts: &Facts) -> State {
    let status = facts.canary.status.clone().unwrap_or_default();
    let look = format!("kubectl describe canary {} -n {}", facts.name(), facts.namespace());
    let waiting = status.waiting_for.as_ref();
    if facts.run_is_on() {
        let run = status.run.as_ref().map(|r| (r.name.clone(), r.started_at));
        let (name, started) = run.unwrap_or_default();
        if facts.phase() == "RollingBack" {
            return Break {
                says: format!("run {name} is being rolled back: its traffic goes to stable"),
                read: waiting.map(|w| w.message.clone()).unwrap_or_default(),
                expected: "a run that is in its steps".to_owned(),
                next: vec![look],
            }
            .into();
        }
        let since = span(facts.now - started);
        return State::holds(if facts.stepping() {
            format!("{name}, since {since}")
        } else {
            let message = waiting.map_or_else(|| facts.phase().to_owned(), |w| w.message.clone());
            format!("{name} is past its steps, since {since}: {message}")
        });
    }
    let at_rest = |c: &Condition| c.kind == "Ready" && c.status == "True";
    if let Some(ready) = status.conditions.iter().find(|c| at_rest(c)) {
        return State::holds(format!("none is on; {}", ready.message));
    }
    let said = waiting.map(|w| (w.reason.clone(), w.message.clone()));
    let unready = || {
        let ready = status.conditions.iter().find(|c| c.kind == "Ready")?;
        Some((ready.reason.clone(), ready.message.clone()))
    };
    let (reason, message) = said.or_else(unready).unwrap_or_default();
    let mut next = vec![look];
    next.extend(waiting.and_then(|w| w.unblock.clone()));
    let says = match reason.as_str() {
        "StillHeld" => "no run is on: the last one failed, and its revision stays held",
        _ => "no run is on, and none can begin",
    };
    let expected = match reason.as_str() {
        "StillHeld" => "a newer revision, a revert or a retry",
        _ => "a canary that is ready",
    };
    Break {
        says: says.to_owned(),
        read: format!("{reason}: {message}"),
        expected: expected.to_owned(),
        next,
    }
    .into()
}

/// The canary's own pods.
pub(super) fn pods(facts: &Facts) -> State {
    let (name_, space) = (facts.canary_name(), facts.namespace());
    let deployment = match &facts.canary_deployment {
        Ok(Some(deployment)) => deployment,
        Ok(None) => {
            let status = facts.canary.status.as_ref();
            let waits = status.and_then(|s| s.waiting_for.as_ref()).map(|w| w.message.clone());
            return Break {
                says: format!("there is no deployment/{name_}, so there are no canary pods"),
                read: waits.unwrap_or_else(|| "nothing that it waits for".to_owned()),
                expected: "the one that the controller makes when a run begins".to_owned(),
                next: vec![
                    format!("kubectl get deployments -n {space}"),
                    format!("kubectl get events.events.k8s.io -n {space}"),
                ],
            }
            .into();
        }
        Err(blind) => return blind.clone().into(),
    };
    if let Err(blind) = &facts.pods {
        return blind.clone().into();
    }
    let failed = condition(deployment, "/status/conditions", "ReplicaFailure");
    let pods = facts.canary_pods();
    if let Some(failed) = failed.filter(|c| text(c, "/status") == "True")
        && pods.is_empty()
    {
        return Break {
            says: "no canary pod can be made".to_owned(),
            read: says(failed),
            expected: "pods; a quota, a policy or a missing service account forbids them"
                .to_owned(),
            next: vec![format!(
                "kubectl describe replicasets -n {space} -l {}",
                selector_of(deployment)
            )],
        }
        .into();
    }
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let up = pods.iter().filter(|pod| ready(pod)).count();
    if up > 0 {
        return State::holds(format!("{up} of {wanted} canary pods ready"));
    }
    let Some(pod) = pods.first() else {
        return Break {
            says: format!("deployment/{name_} has no pods"),
            read: format!("0 of {wanted} pods"),
            expected: format!("{wanted}"),
            next: vec![format!("kubectl describe deployment {name_} -n {space}")],
        }
        .into();
    };
    not_ready(facts, pod, &format!("0 of {wanted} canary pods ready"))
}

fn not_ready(facts: &Facts, pod: &Value, read: &str) -> State {
    let (pod_name, space) = (name(pod), facts.namespace());
    let mut next = vec![format!("kubectl describe pod {pod_name} -n {space}")];
    let logs = |next: &mut Vec<String>, previous: &str| {
        next.push(format!(
            "kubectl logs {pod_name} -n {space} --all-containers{previous} --tail 50"
        ));
    };
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut statuses = statuses.into_iter().flat_map(|at| list(pod, at));
    let waiting = statuses.find(|c| {
        let reason = text(c, "/state/waiting/reason");
        !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
    });
    if let Some(container) = waiting {
        let (reason, message) =
            (text(container, "/state/waiting/reason"), text(container, "/state/waiting/message"));
        if reason == "CrashLoopBackOff" {
            logs(&mut next, " --previous");
        }
        let message = if message.is_empty() { String::new() } else { format!("; {message}") };
        return Break {
            says: format!(
                "container {} of the canary does not start: {reason}",
                text(container, "/name")
            ),
            read: format!("{read}{message}"),
            expected: "at least one ready".to_owned(),
            next,
        }
        .into();
    }
    let scheduled = condition(pod, "/status/conditions", "PodScheduled");
    if let Some(stuck) = scheduled.filter(|c| text(c, "/status") == "False") {
        return Break {
            says: format!("pod {pod_name} finds no node"),
            read: text(stuck, "/message").to_owned(),
            expected: "room for it on some node".to_owned(),
            next,
        }
        .into();
    }
    logs(&mut next, "");
    let probe = condition(pod, "/status/conditions", "Ready").map(says).unwrap_or_default();
    Break {
        says: "the canary's pods run, and none is ready".to_owned(),
        read: format!("{read}; {probe}"),
        expected: "at least one whose readiness probe succeeds".to_owned(),
        next,
    }
    .into()
}

/// The canary's Service leads to the canary's pods.
pub(super) fn endpoints(facts: &Facts) -> State {
    let space = facts.namespace();
    let name_ = facts.backends().canary;
    let service = match &facts.canary_service {
        Ok(Some(service)) => service,
        Ok(None) => {
            return Break {
                says: format!("there is no service/{name_}, to which the route sends the canary's share"),
                read: "not found".to_owned(),
                expected: "the one that the controller makes when a run begins; it makes it again at its next look".to_owned(),
                next: vec![
                    format!("kubectl get services -n {space}"),
                    "kubectl get pods -A -l app.kubernetes.io/name=tidegate".to_owned(),
                ],
            }
            .into();
        }
        Err(blind) => return blind.clone().into(),
    };
    let pods = facts.canary_pods();
    let selector: BTreeMap<String, String> = map(service, "/spec/selector");
    let other = pods.iter().find_map(|pod| {
        let labels = map(pod, "/metadata/labels");
        unmet(&selector, &labels).map(|(k, v)| (format!("{k}={v}"), labels.get(k).cloned()))
    });
    if let Some((wanted, has)) = other {
        return Break {
            says: format!("service/{name_} does not select the canary's pods"),
            read: format!(
                "it asks for {wanted}, they have {}",
                has.unwrap_or_else(|| "no such label".to_owned())
            ),
            expected: "the selector that the controller wrote; somebody changed it, or the pods"
                .to_owned(),
            next: vec![format!(
                "kubectl get pods -n {space} -l {}={} --show-labels",
                api::ROLE_LABEL,
                controller::objects::ROLE
            )],
        }
        .into();
    }
    let side = Side { service, pods: &pods, what: "canary" };
    let up = pods.iter().filter(|pod| ready(pod) && lives(pod)).count();
    side.state(facts, || {
        format!("service/{name_}: {} behind it", count(up, "ready address", "ready addresses"))
    })
}

/// Where no route splits: the user's Service points at the revision that the run means.
pub(super) fn pointed(facts: &Facts) -> State {
    let (name_, space) = (facts.service_name(), facts.namespace());
    let canary = facts.canary_pods();
    let of_canary = canary.first().and_then(|pod| label(pod, POD_TEMPLATE_HASH));
    let selected = facts.selected_hash();
    let to_canary = selected.is_some() && selected == of_canary;
    let wanted = facts.intended() == 100;
    if to_canary == wanted {
        let whose = if to_canary { "the canary's pods" } else { "stable's pods" };
        return State::holds(format!("service/{name_} points at {whose}, as the step wants"));
    }
    let whose = if wanted { "the canary's" } else { "stable's" };
    Break {
        says: format!("service/{name_} does not point at {whose} pods, and the step wants it to"),
        read: format!(
            "{POD_TEMPLATE_HASH}: {} in its selector, {} on the canary's pods",
            selected.unwrap_or("none"),
            of_canary.unwrap_or("none")
        ),
        expected: format!("the hash of {whose} pods in the selector"),
        next: vec![
            format!("kubectl get service {name_} -n {space} -o jsonpath='{{.spec.selector}}'"),
            format!("kubectl get pods -n {space} -L {POD_TEMPLATE_HASH},{}", api::ROLE_LABEL),
        ],
    }
    .into()
}
