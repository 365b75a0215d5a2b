//! What is stored in a route, told from what its annotations say.

use std::fmt;

use rollout::{Condition, Match, Part, Pattern, Shape, Weight};
use serde_json::Value;

use super::{Requests, mirror, obstacle, refs, split, testers};
use crate::traffic::annotations::{self, Said};
use crate::traffic::{Backends, Stored};

/// By the names of the backends, wherever they stand in a rule. Where rules differ, by whatever gives the canary most: on the way
/// down nothing may be overlooked that still sends it requests. On the way up, the trouble names the rule that lags behind.
pub(super) fn read(requests: Requests, live: &Value, backends: &Backends) -> Stored {
    match annotations::read(live, backends) {
        // Without the annotation nothing in the route is ours, whatever it names.
        Said::Nothing => Stored::default(),
        Said::Garbled(trouble) => {
            let shape = Some(there(live, backends, &[]));
            Stored { shape, trouble: Some(trouble) }
        }
        Said::Shape(said) => match trouble(requests, live, backends, &said) {
            None => Stored { shape: Some(said), trouble: None },
            Some(trouble) => {
                let mut shape = there(live, backends, &said.matches);
                if shares(live, backends).next().is_none() {
                    shape.weight = said.weight;
                }
                Stored { shape: Some(shape), trouble: Some(trouble) }
            }
        },
    }
}

/// What the rules give the canary, with `said` for the requests that testers' rules are about as far as they are the ones meant.
fn there(live: &Value, backends: &Backends, said: &[Match]) -> Shape {
    let rules = || refs::rules(live).iter();
    let testers = || rules().filter(|rule| is_testers(live, rule, backends) && !is_parked(rule));
    let mut matches = if testers().next().is_some() { said.to_vec() } else { Vec::new() };
    for found in testers().filter_map(conditions) {
        let meant =
            matches.iter().any(|m| m.conditions().iter().all(|c| found.conditions().contains(c)));
        if !meant {
            matches.push(found);
        }
    }
    let mirror = rules().map(|rule| mirror::share(live, rule, &backends.service)).max();
    let mirror = mirror.and_then(|share| Weight::new(u8::try_from(share).ok()?));
    Shape {
        weight: shares(live, backends).map(|(_, _, s)| s.rounded_up()).max().unwrap_or_default(),
        matches,
        mirror: mirror.filter(|share| *share > Weight::ZERO),
    }
}

fn trouble(requests: Requests, live: &Value, backends: &Backends, said: &Shape) -> Option<String> {
    let route = refs::label(live);
    let canary = &backends.canary;
    let at = |i: usize, rule: &Value| format!("{route}, {}", refs::rule_label(i, rule));
    if let Some((i, rule, share)) = shares(live, backends).find(|(_, _, s)| !s.is(said.weight)) {
        return Some(format!(
            "{}: gives {canary} {share} where annotation {} says {}; is the rule of a shape that can't be split, or the policy tidegate-split not in force?",
            at(i, rule),
            backends.annotation(),
            said.weight,
        ));
    }
    if let Some(obstacle) = obstacle::find(requests, live, backends, said) {
        return Some(obstacle.to_string());
    }
    let wanted = split::render(requests, live, backends, Some(said));
    let ask = "is the policy tidegate-split not in force?";
    let ours = |route: &'_ Value| -> Vec<Value> {
        refs::rules(route).iter().filter(|r| is_testers(route, r, backends)).cloned().collect()
    };
    let meant = ours(&wanted);
    let mut rules = refs::rules(live).iter().enumerate();
    if let Some((i, rule)) =
        rules.find(|(_, r)| is_testers(live, r, backends) && !meant.contains(r))
    {
        return Some(format!(
            "{}: still sends requests with {} to {canary}, and annotation {} doesn't say so; {ask}",
            at(i, rule),
            words(rule),
            backends.match_annotation(),
        ));
    }
    let there = ours(live);
    if let Some(missing) = meant.iter().find(|rule| !there.contains(rule)) {
        return Some(format!(
            "{route}, spec.rules: no rule sends requests with {} to {canary}, as annotation {} says; {ask}",
            words(missing),
            backends.match_annotation(),
        ));
    }
    let mirrored = |route, rule| mirror::share(route, rule, &backends.service);
    let both = refs::rules(live).iter().zip(refs::rules(&wanted)).enumerate();
    let mut copies = both.map(|(i, (r, w))| (i, r, mirrored(live, r), mirrored(&wanted, w)));
    let (i, rule, found, meant) = copies.find(|(_, _, found, meant)| found != meant)?;
    Some(format!(
        "{}: copies {found} % of its requests to {canary}, where annotation {} means {meant} %; {ask}",
        at(i, rule),
        backends.mirror_annotation(),
    ))
}

/// A rule that has the canary alone, for some requests.
fn is_testers(route: &Value, rule: &Value, ours: &Backends) -> bool {
    refs::namespace(route) == ours.namespace
        && testers::of(route, rule) == Some(&ours.service)
        && conditions(rule).is_some()
}

/// A rule that no request meets any more.
pub(super) fn is_parked(rule: &Value) -> bool {
    conditions(rule).is_some_and(|m| annotations::is_parked(&annotations::lowered(&m)))
}

/// What tells a testers' request, with the owner's conditions where the rule had some.
fn conditions(rule: &Value) -> Option<Match> {
    let each = |field: &str, part| {
        let all = refs::list(rule, &format!("/matches/0/{field}")).iter();
        all.map(move |c| {
            let (name, value) = (refs::text(c, "/name"), refs::text(c, "/value").to_owned());
            let value = match refs::text(c, "/type") {
                "RegularExpression" => Pattern::Regex(value),
                _ => Pattern::Exact(value),
            };
            annotations::as_asked(Condition { part, name: name.to_owned(), value })
        })
    };
    Match::new(each("headers", Part::Header).chain(each("queryParams", Part::Query)).collect())
}

fn words(rule: &Value) -> String {
    conditions(rule).map(|m| m.to_string()).unwrap_or_default()
}

/// By rule, but not those of testers.
fn shares<'a>(
    live: &'a Value,
    backends: &'a Backends,
) -> impl Iterator<Item = (usize, &'a Value, Share)> {
    let rules = refs::rules(live).iter().enumerate();
    rules
        .filter(|(_, rule)| !is_testers(live, rule, backends))
        .filter_map(|(i, rule)| Some((i, rule, Share::of(live, rule, backends)?)))
}

/// The canary's part of one rule.
struct Share {
    canary: u64,
    all: u64,
}

impl Share {
    /// `None`: the rule has nothing to do with the Service, or gets no request.
    fn of(route: &Value, rule: &Value, ours: &Backends) -> Option<Self> {
        let backends = refs::backends(route, rule).filter(|b| b.namespace == ours.namespace);
        let named = |b: &refs::Backend<'_>| b.name == ours.service || b.name == ours.canary;
        backends.clone().find(named)?;
        let canary = backends.filter(|b| b.name == ours.canary).map(|b| b.weight).sum();
        let all = refs::weights(rule).sum();
        (all > 0).then_some(Self { canary, all })
    }

    fn is(&self, share: Weight) -> bool {
        self.canary * 100 == self.all * u64::from(share.percent())
    }

    fn rounded_up(&self) -> Weight {
        let percent = (self.canary * 100).div_ceil(self.all);
        u8::try_from(percent).ok().and_then(Weight::new).unwrap_or(Weight::FULL)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.canary, self.all)
    }
}
