//! The table in `docs/providers.md` says what the code says. Refreshed with `UPDATE_GOLDEN=1`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use analysis::{Profile, Reporter};

use super::{Capabilities, Matching, Mirroring, System, Telemetry, Verification};

const BEGIN: &str = "<!-- made by the tests of `providers` -->\n";
const END: &str = "<!-- until here -->";

#[test]
fn the_page_about_providers_has_the_table_of_what_systems_can_do() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers.md");
    let page = fs::read_to_string(&file).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("where it begins");
    let (stored, after) = rest.split_once(END).expect("where it ends");
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).expect("a file");
        return;
    }
    assert_eq!(
        stored, table,
        "docs/providers.md is stale: UPDATE_GOLDEN=1 cargo test -p providers"
    );
}

fn table() -> String {
    let mut table = String::from(
        "\n| system | what is split | shares | testers and A/B | mirroring | how far it is proved | says which generation | settles within | built-in metrics |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for system in System::KNOWN {
        let Capabilities { settle, profile, weights, matching, mirroring, verification } =
            system.capabilities();
        let yes = |it: bool| if it { "yes" } else { "no" };
        writeln!(
            table,
            "| `{system}` | {} | {} | {} | {} | {} | {} | {} s | {} |",
            split(&system),
            if weights { "0 to 100 %" } else { "all or none" },
            told_apart(matching),
            match mirroring {
                Mirroring::No => "no",
                Mirroring::Whole => "of all requests",
                Mirroring::Percent => "1 to 100 %",
            },
            match verification {
                Verification::Stored => "the API server has it",
                Verification::Accepted => "the system says so",
                Verification::Programmed => "its proxies' configuration is read",
            },
            if verification == Verification::Stored { "-" } else { yes(system.tells_generation()) },
            settle.num_seconds(),
            profile.map_or("none", metrics),
        )
        .expect("a line");
    }
    table.push('\n');
    table
}

fn told_apart(matching: Matching) -> &'static str {
    match matching {
        Matching { header: false, .. } => "no",
        Matching { header_regex: true, query: true, .. } => "header, cookie, query",
        Matching { header_regex: true, query: false, .. } => "header, cookie",
        Matching { header_regex: false, query: true, .. } => "header, query",
        Matching { header_regex: false, query: false, .. } => "header",
    }
}

/// Where `docs/queries.md` has them.
fn metrics(profile: Profile) -> &'static str {
    match profile {
        Profile::Traefik => "[Traefik](queries.md#traefik), route",
        Profile::TraefikService => "[Traefik](queries.md#traefik), TraefikService",
        Profile::EnvoyGateway => "[Envoy Gateway](queries.md#envoy-gateway)",
        Profile::Contour => "[Contour](queries.md#contour-and-kgateway)",
        Profile::Kgateway => "[kgateway](queries.md#contour-and-kgateway)",
        Profile::Istio(Reporter::Source) => "[Istio](queries.md#istio), of the clients",
        Profile::Istio(Reporter::Waypoint) => "[Istio](queries.md#istio), of the waypoints",
        Profile::IstioProxy => "[Istio without its telemetry](queries.md#istio)",
        Profile::Linkerd => "[Linkerd](queries.md#linkerd)",
        Profile::Cilium => "[Cilium](queries.md#cilium)",
        Profile::Pods => "[Pods](queries.md#pods-that-count-themselves)",
    }
}

/// Every system has a line here.
fn split(system: &System) -> &'static str {
    match system {
        System::Traefik
        | System::EnvoyGateway
        | System::IstioGateway(Telemetry::Istio)
        | System::CiliumGateway
        | System::ContourGateway
        | System::Kgateway
        | System::NginxGatewayFabric
        | System::Other(_) => "HTTPRoute, GRPCRoute on a Gateway",
        System::IstioMesh(Telemetry::Istio) => {
            "HTTPRoute, GRPCRoute on a Service, for clients with sidecars"
        }
        System::IstioWithoutTelemetry
        | System::IstioGateway(Telemetry::Envoy)
        | System::IstioMesh(Telemetry::Envoy) => {
            "the same, where proxies don't have Istio's telemetry"
        }
        System::TraefikService => "TraefikService",
        System::Contour => "HTTPProxy",
        System::Istio => "VirtualService",
        System::IstioAmbient => "HTTPRoute, GRPCRoute on a Service with a waypoint",
        System::Linkerd => "HTTPRoute of either group, GRPCRoute on a Service",
        System::CiliumMesh => "HTTPRoute, GRPCRoute on a Service",
        System::Kubernetes => "the Service's selector",
    }
}
