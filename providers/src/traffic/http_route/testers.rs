//! The rules that send testers' requests to the canary, whatever its share: for each rule that is split and each kind of request a
//! copy of the rule with conditions more, at the end of the route.
//!
//! The place means nothing to a gateway, which goes by how specific a rule is; but the owner's rules keep their numbers, by which
//! gateways call their clusters.

use rollout::Pattern;
use serde_json::{Value, json};

use super::{Requests, refs, split};
use crate::traffic::Backends;
use crate::traffic::annotations::{self, Lowered};

/// What a route may have at most, in the definitions of Gateway API.
pub(super) const MOST_RULES: usize = 16;
pub(super) const MOST_MATCHES: usize = 128;
const MOST_CONDITIONS: usize = 16;
const LONGEST_NAME: usize = 256;

/// Of one kind of request, what its headers and query parameters have to be: what a match of a route can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line(Vec<Lowered>);

/// The two lists of a match: their field, what an entry is called, and how long its value may be.
const PARTS: [(bool, &str, &str, usize); 2] =
    [(false, "headers", "header", 4096), (true, "queryParams", "query parameter", 1024)];

impl Line {
    /// # Errors
    /// Why no match can hold it.
    pub(super) fn of(requests: Requests, conditions: &[Lowered]) -> Result<Self, String> {
        for (query, _, what, longest) in PARTS {
            let part: Vec<_> = conditions.iter().filter(|c| c.query == query).collect();
            for (i, condition) in part.iter().enumerate() {
                let (name, value) = (&condition.name, text(condition));
                let length = value.chars().count();
                if query && requests == Requests::Grpc {
                    return Err(format!("{what} {name}: a GRPCRoute has none; use a header"));
                }
                if !is_name(name) {
                    return Err(format!(
                        "{what} `{name}`: need a name of 1 to {LONGEST_NAME} letters, digits and !#$%&'*+-.^_`|~"
                    ));
                }
                if !(1..=longest).contains(&length) {
                    return Err(format!(
                        "{what} {name}: the value has {length} characters, need 1 to {longest}"
                    ));
                }
                if part[..i].iter().any(|other| key(other) == key(condition)) {
                    let cookies =
                        if name == "cookie" { ", and all cookies are in one" } else { "" };
                    return Err(format!(
                        "{what} {name} is asked for twice, and a match can name it once{cookies}; ask for one of the two"
                    ));
                }
            }
            if part.len() > MOST_CONDITIONS {
                return Err(too_many(part.len(), what));
            }
        }
        Ok(Self(conditions.to_vec()))
    }

    /// Why a match of the owner's can't have it as well; `None`: it can.
    pub(super) fn obstacle(&self, wanted: &Value) -> Option<String> {
        PARTS.iter().find_map(|(query, field, what, _)| {
            let own = refs::list(wanted, &format!("/{field}"));
            let mut ours = self.0.iter().filter(|c| c.query == *query);
            let count = own.len() + ours.clone().count();
            let owned = |c: &&Lowered| {
                let key = key(c);
                own.iter().any(|o| key == key_of(*query, refs::text(o, "/name")))
            };
            match ours.find(owned) {
                Some(clash) => Some(format!(
                    "{what} {} is matched by the rule already, and a match can name it once; tell testers by another one",
                    clash.name
                )),
                // A match that has none of ours more is its owner's.
                None => (count > MOST_CONDITIONS && count > own.len()).then(|| too_many(count, what)),
            }
        })
    }

    /// The second is the first with this line.
    pub(super) fn made(&self, wanted: &Value, tester: &Value) -> bool {
        let mut made = wanted.clone();
        made.is_object() && {
            self.add(&mut made);
            made == *tester
        }
    }

    fn add(&self, wanted: &mut Value) {
        for (query, field, ..) in PARTS {
            let ours = self.0.iter().filter(|c| c.query == query).map(condition);
            let mut all = refs::list(wanted, &format!("/{field}")).to_vec();
            all.extend(ours);
            if !all.is_empty() {
                wanted[field] = json!(all);
            }
        }
    }
}

fn too_many(count: usize, what: &str) -> String {
    format!("{count} conditions on {what}s, and a match can have {MOST_CONDITIONS}; use fewer")
}

fn text(condition: &Lowered) -> &str {
    match &condition.value {
        Pattern::Exact(value) | Pattern::Regex(value) => value,
    }
}

fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(known)
}

fn key(condition: &Lowered) -> String {
    key_of(condition.query, &condition.name)
}

/// Header names have no case, names of query parameters do.
fn key_of(query: bool, name: &str) -> String {
    if query { name.to_owned() } else { name.to_ascii_lowercase() }
}

fn condition(lowered: &Lowered) -> Value {
    let (kind, value) = match &lowered.value {
        Pattern::Exact(value) => ("Exact", value),
        Pattern::Regex(value) => ("RegularExpression", value),
    };
    json!({"type": kind, "name": lowered.name, "value": value})
}

/// The Service whose testers a rule would be for: its one backend has the name of that Service's canary.
pub(super) fn of<'a>(route: &'a Value, rule: &'a Value) -> Option<&'a str> {
    let [alone] = refs::list(rule, "/backendRefs") else { return None };
    let alone = refs::Backend::of(route, alone).filter(|b| b.is_at_home(route))?;
    Backends::service_of(alone.name)
}

/// The rule is one that was added for testers, of whichever Service the route is split for.
pub(super) fn is_added(route: &Value, rule: &Value) -> bool {
    of(route, rule).is_some_and(|service| annotations::services(route).any(|s| s == service))
}

/// How many rules and matches a route has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rules: usize,
    pub(super) matches: usize,
}

impl Size {
    pub(super) fn fits(self) -> bool {
        self.rules <= MOST_RULES && self.matches <= MOST_MATCHES
    }
}

/// Of a route with these rules, without and with these testers of each.
pub(super) fn sizes(rules: &[Value], lines: &[&[Line]]) -> [Size; 2] {
    let own = |rule| refs::list(rule, "/matches").len();
    let more: usize = lines.iter().map(|lines| lines.len()).sum();
    let copied = rules.iter().zip(lines).map(|(rule, lines)| own(rule).max(1) * lines.len());
    let matches = rules.iter().map(own).sum();
    let with = Size { rules: rules.len() + more, matches: matches + copied.sum::<usize>() };
    [Size { rules: rules.len(), matches }, with]
}

/// The same of a route that says all this in its annotations.
pub(super) fn told_sizes(requests: Requests, route: &Value) -> [Size; 2] {
    let told = split::told(requests, route);
    let testers = |rule: &&Value| of(route, rule).is_some_and(|s| told.contains_key(s));
    let rules: Vec<_> = refs::rules(route).iter().filter(|r| !testers(r)).cloned().collect();
    sizes(&rules, &split::lines(route, &rules, &told))
}

/// What is added to a route whose rules are split, and for these testers each: all or, where they are too many, none.
pub(super) fn rules(requests: Requests, rules: &[Value], lines: &[&[Line]]) -> Vec<Value> {
    let [_, with] = sizes(rules, lines);
    if !with.fits() {
        return Vec::new();
    }
    let each = rules
        .iter()
        .zip(lines)
        .flat_map(|(rule, lines)| lines.iter().filter_map(move |line| copy(requests, rule, line)));
    each.collect()
}

/// `None`: a match of the rule can't have the line as well.
fn copy(requests: Requests, rule: &Value, line: &Line) -> Option<Value> {
    let mut matches = refs::list(rule, "/matches").to_vec();
    if matches.iter().any(|m| !m.is_object() || line.obstacle(m).is_some()) {
        return None;
    }
    if matches.is_empty() {
        matches.push(requests.everything());
    }
    for wanted in &mut matches {
        line.add(wanted);
    }
    let mut canary = refs::list(rule, "/backendRefs").get(1)?.clone();
    canary["weight"] = json!(1);

    let mut copy = rule.clone();
    copy["matches"] = json!(matches);
    copy["backendRefs"] = json!([canary]);
    // Names of rules are there once.
    copy.as_object_mut()?.remove("name");
    Some(copy)
}
