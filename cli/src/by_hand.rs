//! What a person does with kubectl alone when no controller answers.

use api::{ActionVerb, Canary, PIN_LABEL, Provider, SUFFIX};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use providers::traffic::{Backends, KINDS};

use crate::cluster::Cluster;

/// The names of the objects that a run touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hands {
    namespace: String,
    canary: String,
    deployment: String,
    service: String,
    /// That are split, as kubectl takes them.
    routes: Vec<String>,
    /// The Service is pointed at the canary's pods, instead of a route.
    by_selector: bool,
    /// That is on.
    run: Option<String>,
}

/// Reads which routes are split, since the status may be old; if that can't be read, it has to do.
pub(crate) async fn look(cluster: &Cluster, canary: &Canary) -> Hands {
    let service = canary.spec.traffic.service.name.clone();
    let split = format!("{}{service}", Backends::PREFIX);
    let mut found = Vec::new();
    for provider in KINDS {
        let kind = provider.kind();
        let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
        let routes: Api<DynamicObject> =
            Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
        // Kinds that aren't there, or may not be read: the status has to do.
        let Ok(list) = cluster.answer(routes.list(&ListParams::default())).await else { continue };
        let held = |r: &DynamicObject| {
            r.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(&split))
        };
        let names = list.items.into_iter().filter(held).filter_map(|r| r.metadata.name);
        found.extend(names.map(|name| kind.called(&name)));
    }
    let told = || canary.status.as_ref().and_then(|s| s.traffic.as_ref()).map(|t| t.routes.clone());
    Hands {
        namespace: cluster.namespace.clone(),
        canary: canary.metadata.name.clone().unwrap_or_default(),
        deployment: canary.spec.target_ref.name.clone(),
        service,
        routes: if found.is_empty() { told().unwrap_or_default() } else { found },
        by_selector: canary.spec.provider == Some(Provider::Kubernetes),
        run: canary
            .status
            .as_ref()
            .and_then(|s| s.run.as_ref())
            .filter(|run| run.ended_at.is_none())
            .map(|run| run.name.clone()),
    }
}

impl Hands {
    /// Comments and commands that can be pasted, in the only order that loses no request.
    pub(crate) fn lines(&self, verb: ActionVerb, action: &str) -> Vec<String> {
        let Self { namespace, canary, .. } = self;
        let take_back = format!("kubectl delete canaryaction {action} -n {namespace}");
        let mut lines = vec![
            "# is one running?".to_owned(),
            "kubectl get pods -A -l app.kubernetes.io/name=tidegate".to_owned(),
        ];
        match verb {
            ActionVerb::Abort => {
                lines.push(format!("# or abort {canary} by hand, in this order; the request stays, so that a controller"));
                lines.push("# that comes up ends the run instead of going on with it".to_owned());
                lines.extend(self.abort());
            }
            ActionVerb::Promote => {
                lines.push("# take the request back".to_owned());
                lines.push(take_back);
                lines.push(format!("# then promote {canary} by hand, unjudged, in this order"));
                lines.extend(self.promote());
            }
            ActionVerb::Retry => {
                lines.push("# take the request back; by hand there is no retry".to_owned());
                lines.push(take_back);
            }
        }
        lines
    }

    fn abort(&self) -> Vec<String> {
        let Self { namespace, deployment, .. } = self;
        if self.by_selector {
            return vec![
                "# the service selects every pod again: it must not be left with none".to_owned(),
                self.unpin(),
                "# then only stable's are left".to_owned(),
                self.remove_canary(),
                format!(
                    "# deployment {deployment} in {namespace} stays held: revert the revision where it is kept"
                ),
            ];
        }
        let mut lines = vec!["# all traffic to stable".to_owned()];
        lines.extend(self.give_back_routes());
        lines.push("# once the gateway has heard of it".to_owned());
        lines.push("sleep 5".to_owned());
        lines.push(self.remove_canary());
        lines.push("# only when the canary's pods are gone".to_owned());
        lines.push(self.unpin());
        lines.push(format!(
            "# deployment {deployment} in {namespace} stays held: revert the revision where it is kept"
        ));
        lines
    }

    fn promote(&self) -> Vec<String> {
        let Self { namespace, deployment, .. } = self;
        let mut lines = Vec::new();
        if let Some(run) = &self.run {
            lines.push("# or a controller that comes up would roll it back".to_owned());
            lines.push(format!("kubectl delete canaryrun {run} -n {namespace}"));
        }
        lines.push("# before anything starts: pinned, the service would lose its pods".to_owned());
        lines.push(self.unpin());
        lines.push("# start the revision".to_owned());
        lines.push(format!(
            "kubectl label deployment {deployment} -n {namespace} {}-",
            api::CANARY_LABEL
        ));
        lines.push(format!("kubectl rollout resume deployment {deployment} -n {namespace}"));
        lines.push(format!("kubectl rollout status deployment {deployment} -n {namespace}"));
        lines.push("# all traffic to it".to_owned());
        lines.extend(self.give_back_routes());
        lines.push("# once the gateway has heard of it".to_owned());
        lines.push("sleep 5".to_owned());
        lines.push(self.remove_canary());
        lines
    }

    fn give_back_routes(&self) -> Vec<String> {
        let Self { namespace, service, routes, .. } = self;
        if routes.is_empty() {
            return vec!["# (no route is split)".to_owned()];
        }
        let annotate = |route: &String| {
            let split = format!("{}{service}", Backends::PREFIX);
            format!(
                "kubectl annotate {route} -n {namespace} {split}- match.tidegate.dev/{service}- mirror.tidegate.dev/{service}-"
            )
        };
        let mut lines: Vec<_> = routes.iter().map(annotate).collect();
        lines.push(format!(
            "# without the policies tidegate-split* also take {service}{SUFFIX} out of each: kubectl edit {} -n {namespace}",
            routes.join(" ")
        ));
        lines
    }

    /// Waits until its pods are gone.
    fn remove_canary(&self) -> String {
        let Self { namespace, deployment, .. } = self;
        format!(
            "kubectl delete deployment {deployment}{SUFFIX} -n {namespace} --cascade=foreground --ignore-not-found"
        )
    }

    fn unpin(&self) -> String {
        let Self { namespace, service, .. } = self;
        // Label and selector in one write: on a server without our policies the label alone changes nothing.
        let patch = format!(
            r#"{{"metadata":{{"labels":{{"{PIN_LABEL}":null}}}},"spec":{{"selector":{{"{}":null}}}}}}"#,
            api::POD_TEMPLATE_HASH
        );
        format!("kubectl patch service {service} -n {namespace} --type merge -p '{patch}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: &str = "kubectl get pods -A -l app.kubernetes.io/name=tidegate";

    fn hands(routes: &[&str]) -> Hands {
        Hands {
            namespace: "shop".into(),
            canary: "checkout".into(),
            deployment: "checkout-web".into(),
            service: "checkout-svc".into(),
            routes: routes.iter().map(|&r| r.into()).collect(),
            by_selector: false,
            run: Some("checkout-7f9c4".into()),
        }
    }

    fn commands(lines: &[String]) -> Vec<&str> {
        lines.iter().map(String::as_str).filter(|l| l.starts_with("kubectl")).collect()
    }

    #[test]
    fn an_abort_moves_traffic_first_and_unpins_last_and_the_request_stays() {
        let lines = hands(&["httproute/web", "httproute/admin"])
            .lines(ActionVerb::Abort, "checkout-abort-x");
        let expected = [
            LOOK,
            "kubectl annotate httproute/web -n shop split.tidegate.dev/checkout-svc- match.tidegate.dev/checkout-svc- mirror.tidegate.dev/checkout-svc-",
            "kubectl annotate httproute/admin -n shop split.tidegate.dev/checkout-svc- match.tidegate.dev/checkout-svc- mirror.tidegate.dev/checkout-svc-",
            "kubectl delete deployment checkout-web-canary -n shop --cascade=foreground --ignore-not-found",
            r#"kubectl patch service checkout-svc -n shop --type merge -p '{"metadata":{"labels":{"tidegate.dev/stable-hash":null}},"spec":{"selector":{"pod-template-hash":null}}}'"#,
        ];
        assert_eq!(commands(&lines), expected);
    }

    #[test]
    fn a_promotion_ends_the_run_and_unpins_before_anything_starts() {
        let lines = hands(&["httproute/web"]).lines(ActionVerb::Promote, "checkout-promote-x");
        let expected = [
            LOOK,
            "kubectl delete canaryaction checkout-promote-x -n shop",
            "kubectl delete canaryrun checkout-7f9c4 -n shop",
            r#"kubectl patch service checkout-svc -n shop --type merge -p '{"metadata":{"labels":{"tidegate.dev/stable-hash":null}},"spec":{"selector":{"pod-template-hash":null}}}'"#,
            "kubectl label deployment checkout-web -n shop tidegate.dev/canary-",
            "kubectl rollout resume deployment checkout-web -n shop",
            "kubectl rollout status deployment checkout-web -n shop",
            "kubectl annotate httproute/web -n shop split.tidegate.dev/checkout-svc- match.tidegate.dev/checkout-svc- mirror.tidegate.dev/checkout-svc-",
            "kubectl delete deployment checkout-web-canary -n shop --cascade=foreground --ignore-not-found",
        ];
        assert_eq!(commands(&lines), expected);
    }

    #[test]
    fn without_a_route_the_service_is_never_left_without_pods() {
        let hands = Hands { by_selector: true, ..hands(&[]) };
        let lines = hands.lines(ActionVerb::Abort, "checkout-abort-x");
        let commands = commands(&lines);
        let at = |what: &str| commands.iter().position(|c| c.starts_with(what)).expect(what);
        assert!(at("kubectl patch service checkout-svc") < at("kubectl delete deployment"));
    }

    #[test]
    fn a_retry_has_no_way_by_hand() {
        let lines = hands(&[]).lines(ActionVerb::Retry, "x");
        assert_eq!(commands(&lines), [LOOK, "kubectl delete canaryaction x -n shop"]);
    }
}
