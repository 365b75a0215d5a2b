//! What a person does with kubectl alone when no controller answers.

use api::{ActionVerb, Canary, PIN_LABEL, SUFFIX};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use providers::traffic::Backends;

use crate::cluster::{Cluster, answer};

/// The names of the objects that a run touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hands {
    namespace: String,
    canary: String,
    deployment: String,
    service: String,
    /// That are split.
    routes: Vec<String>,
}

/// Reads which routes are split, since the status may be old; if that can't be read, it has to do.
pub(crate) async fn look(cluster: &Cluster, canary: &Canary) -> Hands {
    let service = canary.spec.traffic.service.name.clone();
    let split = format!("{}{service}", Backends::PREFIX);
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    let resource = ApiResource::from_gvk(&kind);
    let routes: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let found = answer(routes.list(&ListParams::default())).await.ok().map(|list| {
        let held = |r: &DynamicObject| {
            r.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(&split))
        };
        list.items.into_iter().filter(held).filter_map(|r| r.metadata.name).collect::<Vec<_>>()
    });
    let told = || canary.status.as_ref().and_then(|s| s.traffic.as_ref()).map(|t| t.routes.clone());
    Hands {
        namespace: cluster.namespace.clone(),
        canary: canary.metadata.name.clone().unwrap_or_default(),
        deployment: canary.spec.target_ref.name.clone(),
        service,
        routes: found.or_else(told).unwrap_or_default(),
    }
}

impl Hands {
    /// Comments and commands that can be pasted, in the only order that loses no request.
    pub(crate) fn lines(&self, verb: ActionVerb, action: &str) -> Vec<String> {
        let Self { namespace, canary, .. } = self;
        let mut lines = vec![
            "is it running? kubectl get pods -A -l app.kubernetes.io/name=tidegate".to_owned(),
            format!("take the request back: kubectl delete canaryaction {action} -n {namespace}"),
            String::new(),
        ];
        match verb {
            ActionVerb::Abort => {
                lines.push(format!("# or abort {canary} by hand, in this order:"));
                lines.extend(self.abort());
            }
            ActionVerb::Promote => {
                lines.push(format!("# or promote {canary} by hand, unjudged, in this order:"));
                lines.extend(self.promote());
            }
            ActionVerb::Retry => lines.push(format!(
                "# a retry needs a controller; by hand, write the revision of {canary} again once one is up"
            )),
        }
        lines
    }

    fn abort(&self) -> Vec<String> {
        let Self { namespace, deployment, .. } = self;
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
        let mut lines =
            vec!["# before anything starts: pinned, the service would lose its pods".to_owned()];
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
            format!("kubectl annotate httproute {route} -n {namespace} {split}-")
        };
        routes.iter().map(annotate).collect()
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
        format!("kubectl label service {service} -n {namespace} {PIN_LABEL}-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hands(routes: &[&str]) -> Hands {
        Hands {
            namespace: "shop".into(),
            canary: "checkout".into(),
            deployment: "checkout-web".into(),
            service: "checkout-svc".into(),
            routes: routes.iter().map(|&r| r.into()).collect(),
        }
    }

    fn commands(lines: &[String]) -> Vec<&str> {
        lines.iter().map(String::as_str).filter(|l| l.starts_with("kubectl")).collect()
    }

    #[test]
    fn an_abort_moves_traffic_first_and_unpins_last() {
        let lines = hands(&["web", "admin"]).lines(ActionVerb::Abort, "checkout-abort-x");
        let expected = [
            "kubectl annotate httproute web -n shop split.tidegate.dev/checkout-svc-",
            "kubectl annotate httproute admin -n shop split.tidegate.dev/checkout-svc-",
            "kubectl delete deployment checkout-web-canary -n shop --cascade=foreground --ignore-not-found",
            "kubectl label service checkout-svc -n shop tidegate.dev/stable-hash-",
        ];
        assert_eq!(commands(&lines), expected);
    }

    #[test]
    fn a_promotion_unpins_before_anything_starts_and_keeps_the_canary_until_traffic_has_left_it() {
        let lines = hands(&["web"]).lines(ActionVerb::Promote, "checkout-promote-x");
        let expected = [
            "kubectl label service checkout-svc -n shop tidegate.dev/stable-hash-",
            "kubectl label deployment checkout-web -n shop tidegate.dev/canary-",
            "kubectl rollout resume deployment checkout-web -n shop",
            "kubectl rollout status deployment checkout-web -n shop",
            "kubectl annotate httproute web -n shop split.tidegate.dev/checkout-svc-",
            "kubectl delete deployment checkout-web-canary -n shop --cascade=foreground --ignore-not-found",
        ];
        assert_eq!(commands(&lines), expected);
    }

    #[test]
    fn a_retry_has_no_way_by_hand() {
        assert_eq!(commands(&hands(&[]).lines(ActionVerb::Retry, "x")), [""; 0]);
    }
}
