//! The links in the order in which they rest on each other, and the first that does not hold.

use super::facts::Facts;
use super::link::{Break, Link, State};
use super::{mesh, metrics, route, workload};

/// All links that matter where the canary stands now.
///
/// What a run needs before it can begin comes first. What only a run has comes after it, and is not looked at without one: at rest
/// all traffic is stable's, and that is right.
pub(super) fn chain(facts: &Facts) -> Vec<Link> {
    let link = |name, state| Link { name, state };
    let mut all = vec![
        link("controller", workload::controller(facts)),
        link("deployment", workload::target(facts)),
        link("labels", workload::labels(facts)),
    ];
    let routed = !facts.by_selector();
    if routed {
        all.push(link("route", route::route(facts)));
        all.push(link("gateway", route::gateway(facts)));
        all.push(link("conflict", route::conflict(facts)));
        all.extend(mesh::mesh(facts).map(|state| link("mesh", state)));
    }
    let acceptance = routed.then(|| link("acceptance", route::acceptance(facts)));
    if !facts.stepping() {
        all.extend(acceptance);
        all.push(link("run", workload::run(facts)));
        return all;
    }
    all.extend([
        link("run", workload::run(facts)),
        link("pods", workload::pods(facts)),
        link("endpoints", workload::endpoints(facts)),
    ]);
    all.extend(acceptance);
    let shares = if routed { route::shares(facts) } else { workload::pointed(facts) };
    all.extend([
        link("shares", shares),
        link("network", mesh::network(facts)),
        link("scrape", metrics::scrape(facts)),
        link("query", metrics::query(facts)),
        link("requests", metrics::requests(facts)),
        link("verdict", metrics::verdict(facts)),
    ]);
    all
}

/// The first broken link, by its place: the answer.
pub(super) fn answer(chain: &[Link]) -> Option<(usize, &Break)> {
    chain.iter().enumerate().find_map(|(i, link)| match &link.state {
        State::Broken(broken) => Some((i, broken)),
        State::Holds { .. } | State::Unknown(_) => None,
    })
}
