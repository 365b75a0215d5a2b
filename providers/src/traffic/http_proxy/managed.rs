use serde_json::{Value, json};

use crate::traffic::Managed;

/// With one host a root; without any a child, to be included by a root of the user's, which brings certificates and paths.
pub(super) fn spec(wanted: &Managed) -> Result<Value, String> {
    let Managed { name: _, backends, port, gateways, mesh, hosts, labels: _ } = wanted;
    if !gateways.is_empty() {
        return Err("spec.traffic.route.gateways: an HTTPProxy has none; leave them out".into());
    }
    if *mesh {
        return Err(
            "spec.traffic.route: an HTTPProxy is no route of a mesh; name a host, or none".into()
        );
    }
    // All paths: a child has those of the one that includes it.
    let services = json!([{"name": backends.service, "port": port}]);
    let mut spec = json!({"routes": [{"services": services}]});
    match &hosts[..] {
        [] => {}
        [host] => spec["virtualhost"] = json!({"fqdn": host}),
        _ => {
            return Err(format!(
                "spec.traffic.route.hosts: an HTTPProxy has one, and here are {}; leave all but one out, or write a proxy for each that includes {}/{}",
                hosts.len(),
                backends.namespace,
                wanted.name,
            ));
        }
    }
    Ok(spec)
}
