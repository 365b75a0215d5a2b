//! Where Traefik doesn't go by how specific a match is. It adds numbers up, and the place of a rule is one of them
//! (`pkg/provider/kubernetes/gateway/httproute.go`, 3.7.13): so a query parameter counts for less than ten places, and a few headers
//! for more than a longer path.

use rollout::Match;
use serde_json::Value;

use super::testers::{self, Line};
use super::{refs, split, stored};
use crate::traffic::{Backends, System};

/// Traefik has answered for this route.
pub(super) fn answers_for(route: &Value) -> bool {
    refs::list(route, "/status/parents")
        .iter()
        .any(|entry| System::of_gateway(refs::text(entry, "/controllerName")) == System::Traefik)
}

/// The rule from whose testers it would take requests, or give them others', and why. Of a route as it is split, and the kinds of
/// requests that it is split for.
pub(super) fn obstacle(
    split: &Value,
    backends: &Backends,
    kinds: &[(&Match, Line)],
) -> Option<(usize, String)> {
    let rules = refs::rules(split);
    let ours = |rule| testers::of(split, rule) == Some(&backends.service);
    let split_for_us = |rule| split::owners_weight(split, rule, backends).is_some();
    let own = rules.iter().enumerate().filter(|(_, rule)| !ours(rule));
    let added = rules.iter().enumerate().filter(|(_, rule)| ours(rule) && !stored::is_parked(rule));
    for (t, rule) in added {
        for (j, tester) in refs::list(rule, "/matches").iter().enumerate() {
            let rank = rank(tester, t, rules.len());
            for (i, owners) in own.clone() {
                for (k, wanted) in refs::list(owners, "/matches").iter().enumerate() {
                    let copied = kinds.iter().find(|(_, line)| line.made(wanted, tester));
                    if let Some((one, _)) = copied.filter(|_| j == k && split_for_us(owners)) {
                        if rank <= self::rank(wanted, i, rules.len()) {
                            return Some((
                                i,
                                format!(
                                    "requests with {one} would not reach {}, since Traefik lets a query parameter count for less than ten rules; tell testers by a header, or by fewer kinds",
                                    backends.canary,
                                ),
                            ));
                        }
                    } else if !split_for_us(owners)
                        && is_longer(wanted, tester)
                        && rank >= self::rank(wanted, i, rules.len())
                    {
                        return Some((
                            i,
                            format!(
                                "requests of testers would go to {} instead, since Traefik lets a few conditions count for more than a longer path; tell testers by one header",
                                backends.canary,
                            ),
                        ));
                    }
                }
            }
        }
    }
    None
}

/// What Traefik sorts by, apart from the hosts, which a route's rules share.
fn rank(wanted: &Value, place: usize, rules: usize) -> usize {
    let (kind, path) = path(wanted);
    let path = match (kind, path) {
        ("Exact", _) => 100_000,
        ("PathPrefix", "/") => 1,
        _ => 10_000 + path.len() * 100,
    };
    let method = if wanted.get("method").is_some() { 1000 } else { 0 };
    let count = |field: &str| refs::list(wanted, field).len();
    path + method + 100 * count("/headers") + 10 * count("/queryParams") + rules - place
}

fn path(wanted: &Value) -> (&str, &str) {
    let kind = Some(refs::text(wanted, "/path/type")).filter(|kind| !kind.is_empty());
    let path = Some(refs::text(wanted, "/path/value")).filter(|path| !path.is_empty());
    (kind.unwrap_or("PathPrefix"), path.unwrap_or("/"))
}

/// Some requests have both paths, and the first is the more specific one.
fn is_longer(wanted: &Value, tester: &Value) -> bool {
    let (kind, long) = path(wanted);
    let ("PathPrefix", short) = path(tester) else { return false };
    let rest = long.strip_prefix(short.trim_end_matches('/'));
    kind != "RegularExpression" && rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}
