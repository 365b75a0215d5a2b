//! The canary's part in an object, whatever its annotations say.

use rollout::{Shape, Weight};
use serde_json::Value;

use super::hosts::{self, Arm, HOST, list};
use super::{find, split};
use crate::traffic::annotations::{self, Said};
use crate::traffic::{Backends, Stored};

/// By the hosts of the destinations, wherever they stand in an entry, and by the largest share of all entries: on the way down none
/// may be overlooked that still gives the canary requests. On the way up, the trouble names the entry that lags behind.
pub(super) fn read(live: &Value, backends: &Backends) -> Stored {
    let said = annotations::read(live, backends);
    let largest = shares(live, backends).map(|(_, share)| share.rounded_up()).max();
    match said {
        // Without the annotation nothing in the route is ours, whatever it names.
        Said::Nothing => Stored::default(),
        Said::Garbled(trouble) => {
            let weight = left_behind(live, backends).or(largest).unwrap_or_default();
            Stored { shape: Some(Shape::weight(weight)), trouble: Some(trouble) }
        }
        Said::Shape(said) => {
            let unsaid = left_behind(live, backends).filter(|_| said.matches.is_empty());
            let weight = unsaid.or(largest).unwrap_or(said.weight);
            let trouble = lagging(live, backends, &said)
                .or_else(|| find::obstacle(live, backends, &said).map(|o| o.to_string()));
            Stored { shape: Some(Shape { weight, ..said }), trouble }
        }
    }
}

/// An entry of ours gives the canary all that it matches.
fn left_behind(live: &Value, backends: &Backends) -> Option<Weight> {
    let from = hosts::namespace(live);
    let ours = list(live, "/spec/http").iter().any(|e| split::is_ours(e, from, backends));
    ours.then_some(Weight::FULL)
}

/// What isn't as it was said, and where.
fn lagging(live: &Value, backends: &Backends, said: &Shape) -> Option<String> {
    let entries = list(live, "/spec/http");
    let key = backends.annotation();
    let tail = "is the entry of a shape that can't be split, or the policy tidegate-split-virtualservice not in force?";
    let place = |i: usize| {
        let entry = entries.get(i).unwrap_or(&Value::Null);
        format!("{}, {}", hosts::label(live), hosts::entry_label(i, entry))
    };
    if let Some((i, share)) = shares(live, backends).find(|(_, share)| !share.is(said.weight)) {
        let Share { canary, all } = share;
        return Some(format!(
            "{}: gives {} {canary} of {all} where annotation {key} says {}; {tail}",
            place(i),
            backends.canary,
            said.weight,
        ));
    }
    let wanted = split::render(live, backends, Some(said));
    let (is, should) = (outline(live, backends), outline(&wanted, backends));
    let longest = is.len().max(should.len());
    let i = (0..longest).find(|i| is.get(*i) != should.get(*i))?;
    Some(format!(
        "{}: the requests that {} gets by its own rule, or copies of, aren't as the annotations beside {key} say; {tail}",
        place(i),
        backends.canary,
    ))
}

/// What an entry is, apart from the weights.
#[derive(PartialEq)]
enum Outline<'a> {
    Ours(&'a Value),
    Owners { copies: Vec<&'a Value> },
}

fn outline<'a>(route: &'a Value, backends: &Backends) -> Vec<Outline<'a>> {
    let from = hosts::namespace(route);
    let of = |entry: &'a Value| {
        if split::is_ours(entry, from, backends) {
            return Outline::Ours(entry);
        }
        let mirrors = list(entry, "/mirrors").iter();
        let copies = mirrors.filter(|m| split::is_our_mirror(m, from, backends)).collect();
        Outline::Owners { copies }
    };
    list(route, "/spec/http").iter().map(of).collect()
}

/// The canary's part of one entry.
struct Share {
    canary: u64,
    all: u64,
}

/// By entry of the owner's that has to do with the Service and gets requests.
fn shares(live: &Value, backends: &Backends) -> impl Iterator<Item = (usize, Share)> {
    let from = hosts::namespace(live);
    let owners = move |e: &&Value| !split::is_ours(e, from, backends);
    list(live, "/spec/http").iter().enumerate().filter(move |(_, e)| owners(e)).filter_map(
        move |(i, entry)| {
            let all = list(entry, "/route");
            let arms = || all.iter().map(|d| Arm::at(d, HOST, from, backends));
            arms().flatten().next()?;
            // One that is alone gets all requests, whatever its weight.
            let weights = all.iter().map(|d| if all.len() == 1 { 1 } else { weight(d) });
            let canary = weights.clone().zip(arms());
            let canary = canary.filter(|(_, arm)| matches!(arm, Some(Arm::Canary(_))));
            let share = Share { canary: canary.map(|(w, _)| w).sum(), all: weights.sum() };
            (share.all > 0).then_some((i, share))
        },
    )
}

fn weight(destination: &Value) -> u64 {
    split::weight(destination).unwrap_or_default()
}

impl Share {
    fn is(&self, share: Weight) -> bool {
        self.canary * 100 == self.all * u64::from(share.percent())
    }

    fn rounded_up(&self) -> Weight {
        let percent = (self.canary * 100).div_ceil(self.all);
        u8::try_from(percent).ok().and_then(Weight::new).unwrap_or(Weight::FULL)
    }
}
