use serde_json::{Value, json};

use crate::traffic::{GatewayRef, Managed};

/// The `spec` of an object of ours.
///
/// # Errors
/// What Istio has no word for.
pub(super) fn spec(wanted: &Managed) -> Result<Value, String> {
    let Managed { backends, gateways, mesh, hosts, .. } = wanted;
    let listener =
        gateways.iter().enumerate().find_map(|(i, g)| Some((i, g.section_name.as_ref()?)));
    if let Some((i, name)) = listener {
        return Err(format!(
            "gateways[{i}].sectionName: {name}, and a VirtualService can't choose one of a Gateway's servers; leave it out"
        ));
    }
    if hosts.is_empty() && !gateways.is_empty() {
        return Err(
            "hosts: none, and a VirtualService on a Gateway needs them; name some, or `*` for all"
                .to_owned(),
        );
    }
    let own = mesh.then_some(backends.service.as_str());
    let named = gateways.iter().map(|g| name(g, &backends.namespace));
    let gateways: Vec<_> = mesh.then(|| "mesh".to_owned()).into_iter().chain(named).collect();
    Ok(json!({
        "hosts": own.into_iter().chain(hosts.iter().map(String::as_str)).collect::<Vec<_>>(),
        "gateways": gateways,
        "http": entries(wanted),
    }))
}

fn name(gateway: &GatewayRef, home: &str) -> String {
    format!("{}/{}", gateway.namespace.as_deref().unwrap_or(home), gateway.name)
}

/// A client in the mesh has chosen the Service's port; one of a gateway has its listener's, which the Service may not have.
fn entries(wanted: &Managed) -> Vec<Value> {
    let host = &wanted.backends.service;
    let port = json!({"number": wanted.port});
    let through = json!({"route": [{"destination": {"host": host, "port": port}}]});
    let mut inside = json!({"route": [{"destination": {"host": host}}]});
    match (wanted.mesh, wanted.gateways.is_empty()) {
        (false, _) => vec![through],
        (true, true) => vec![inside],
        (true, false) => {
            inside["match"] = json!([{"gateways": ["mesh"]}]);
            vec![inside, through]
        }
    }
}
