//! What keeps a route from taking a shape whole: the limits of Gateway API.

use rollout::Shape;
use serde_json::Value;

use super::testers::{self, Line, MOST_MATCHES, MOST_RULES};
use super::{Requests, mirror, refs, split, traefik};
use crate::traffic::annotations;
use crate::traffic::{Backends, Refusal, Refused};

/// Where a part would be left out, the first place of it. The route is split all the same, without that part.
pub(super) fn find(
    requests: Requests,
    route: &Value,
    backends: &Backends,
    shape: &Shape,
) -> Option<Refused> {
    let refused = |field: String, why: String| Refused {
        route: refs::label(route),
        field,
        why: Refusal::Other(why),
    };
    let at = |key: String| format!("metadata.annotations[{key}]");
    // As it is written, without the testers of before.
    let weights = Shape::weight(shape.weight);
    let split = split::render(requests, route, backends, Some(&weights));
    let own = || {
        let rules = refs::rules(&split).iter().enumerate();
        rules.filter(|(_, rule)| {
            split::owners_weight(&split, rule, backends).is_some_and(|w| w <= split::LARGEST)
        })
    };

    let length = annotations::match_length(&shape.matches);
    if length > annotations::LONGEST_MATCH {
        let most = annotations::LONGEST_MATCH;
        let why = format!("testers make {length} characters, and it can have {most}; use fewer");
        return Some(refused(at(backends.match_annotation()), why));
    }
    let mut kinds = Vec::new();
    for one in &shape.matches {
        let line = match Line::of(requests, &annotations::lowered(one)) {
            Ok(line) => line,
            Err(why) => {
                return Some(refused(at(backends.match_annotation()), format!("{one}: {why}")));
            }
        };
        for (i, rule) in own() {
            for (j, wanted) in refs::list(rule, "/matches").iter().enumerate() {
                if let Some(why) = line.obstacle(wanted) {
                    let field = format!("{}.matches[{j}]", refs::rule_label(i, rule));
                    return Some(refused(field, why));
                }
            }
        }
        kinds.push((one, line));
    }
    if let Some(why) = crowded(requests, route, backends, shape) {
        return Some(refused("spec.rules".to_owned(), why));
    }
    if requests == Requests::Http && !kinds.is_empty() && traefik::answers_for(route) {
        let whole = split::render(requests, route, backends, Some(shape));
        if let Some((i, why)) = traefik::obstacle(&whole, backends, &kinds) {
            let rule = &refs::rules(&whole)[i];
            return Some(refused(refs::rule_label(i, rule), why));
        }
    }
    shape.mirror?;
    own().find_map(|(i, rule)| {
        let filters = refs::list(rule, "/filters").len();
        let most = mirror::MOST_FILTERS;
        let why =
            format!("has {filters} filters, and with the copies one more; it can have {most}");
        let field = format!("{}.filters", refs::rule_label(i, rule));
        (filters >= most).then(|| refused(field, why))
    })
}

/// Too many rules or matches with the testers.
fn crowded(
    requests: Requests,
    route: &Value,
    backends: &Backends,
    shape: &Shape,
) -> Option<String> {
    if shape.matches.is_empty() {
        return None;
    }
    // Of all Services that the route is split for.
    let mut told = route.clone();
    annotations::set(&mut told, backends, Some(shape));
    let [own, with] = testers::told_sizes(requests, &told);
    let kinds = shape.matches.len();
    if with.rules > MOST_RULES {
        return Some(format!(
            "has {} rules, and testers need {} more (one for each of {kinds} kinds of requests and each rule that is split); a route can have {MOST_RULES}, so use fewer kinds or a route of its own",
            own.rules,
            with.rules - own.rules,
        ));
    }
    (with.matches > MOST_MATCHES).then(|| {
        format!(
            "has {} matches, and testers need {} more (one for each of {kinds} kinds of requests and each match of a rule that is split); a route can have {MOST_MATCHES}, so use fewer kinds or a route of its own",
            own.matches,
            with.matches - own.matches,
        )
    })
}
