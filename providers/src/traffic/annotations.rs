//! The annotations by which a route is told its shape. They are all that is ours in it: the rest follows from them, and taking the
//! first one off releases everything.
//!
//! | annotation | value | |
//! |---|---|---|
//! | `split.tidegate.dev/<service>` | `0` to `100` | the canary's share in percent; the route is split as long as it is there |
//! | `match.tidegate.dev/<service>` | a line per kind of request | which requests reach the canary whatever the share |
//! | `mirror.tidegate.dev/<service>` | `1` to `100` | how many percent of the requests the canary gets a copy of |
//!
//! A line is made of conditions, with a tab between two, each of four words with a space between two:
//! `header` or `query`, `exact` or `regex`, the name, the value (which may have spaces). Cookies are told by the header that they
//! come in. So the admission policies, which do the same in CEL, only have to split text.

use rollout::{Condition, Match, Part, Pattern, Shape, Weight};
use serde_json::{Value, json};

use super::Backends;
use super::object;

/// What a route's annotations say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The route isn't split.
    Nothing,
    Shape(Shape),
    /// A value that is none of ours: which annotation, its value, and what it may be.
    Garbled(String),
}

/// Of a match, as routes have it: cookies are a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lowered {
    pub(super) query: bool,
    pub(super) name: String,
    pub(super) value: Pattern,
}

impl Backends {
    /// The annotations that split a route start with this; the rest is the Service.
    pub const PREFIX: &str = "split.tidegate.dev/";

    /// The annotation whose value is the canary's share in percent: `split.tidegate.dev/<service>`.
    pub fn annotation(&self) -> String {
        format!("{}{}", Self::PREFIX, self.service)
    }

    fn match_annotation(&self) -> String {
        format!("match.tidegate.dev/{}", self.service)
    }

    fn mirror_annotation(&self) -> String {
        format!("mirror.tidegate.dev/{}", self.service)
    }
}

/// All of ours with the values that this shape has; `None`: it isn't there.
pub(super) fn of(backends: &Backends, shape: Option<&Shape>) -> [(String, Option<String>); 3] {
    let matches = shape.filter(|s| !s.matches.is_empty()).map(|s| lines(&s.matches));
    let mirror = shape.and_then(|s| s.mirror);
    [
        (backends.annotation(), shape.map(|s| s.weight.percent().to_string())),
        (backends.match_annotation(), matches),
        (backends.mirror_annotation(), mirror.map(|share| share.percent().to_string())),
    ]
}

/// Writes them into an object.
pub(super) fn set(route: &mut Value, backends: &Backends, shape: Option<&Shape>) {
    let Some(metadata) = route.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let Some(annotations) = annotations.as_object_mut() else { return };
    for (key, value) in of(backends, shape) {
        match value {
            Some(value) => annotations.insert(key, json!(value)),
            None => annotations.remove(&key),
        };
    }
    // The API server keeps no empty map.
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

/// Whether the route is split for this Service.
pub(super) fn held(route: &Value, backends: &Backends) -> bool {
    object::annotation(route, &backends.annotation()).is_some()
}

pub(super) fn read(route: &Value, backends: &Backends) -> Said {
    let get = |key: &str| object::annotation(route, key);
    let Some(weight) = get(&backends.annotation()) else { return Said::Nothing };
    let garbled = |key: String, need: &str| {
        let value = get(&key).unwrap_or_default();
        Said::Garbled(format!(
            "{}: annotation {key} is `{value}`, need {need}",
            object::label(route)
        ))
    };
    let Some(weight) = percent(weight) else { return garbled(backends.annotation(), "0 to 100") };
    let mirror = get(&backends.mirror_annotation()).map(percent);
    if mirror == Some(None) {
        return garbled(backends.mirror_annotation(), "1 to 100");
    }
    let Some(matches) = matches(get(&backends.match_annotation()).unwrap_or_default()) else {
        return garbled(backends.match_annotation(), "lines of `header exact NAME VALUE`");
    };
    Said::Shape(Shape { weight, matches, mirror: mirror.flatten() })
}

/// What the policies take for a share.
fn percent(value: &str) -> Option<Weight> {
    let share = value.parse().ok().and_then(Weight::new)?;
    (share.percent().to_string() == value).then_some(share)
}

fn lines(matches: &[Match]) -> String {
    let line = |m: &Match| {
        let words: Vec<_> = lowered(m).iter().map(Lowered::words).collect();
        words.join("\t")
    };
    matches.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The conditions of a match as routes have them.
pub(super) fn lowered(one: &Match) -> Vec<Lowered> {
    let mut all: Vec<Lowered> = Vec::new();
    for Condition { part, name, value } in one.conditions() {
        let (query, name, value) = match part {
            Part::Header => (false, name.clone(), value.clone()),
            Part::Query => (true, name.clone(), value.clone()),
            Part::Cookie => (false, COOKIE.to_owned(), Pattern::Regex(cookie(name, value))),
        };
        all.push(Lowered { query, name, value });
    }
    all
}

const COOKIE: &str = "cookie";
const BEFORE: &str = "^(.*; ?)?";
const AFTER: &str = "(;.*)?$";

/// A cookie among others in the one header that they come in (RFC 6265, 5.4).
fn cookie(name: &str, value: &Pattern) -> String {
    match value {
        Pattern::Exact(value) => format!("{BEFORE}{}={}{AFTER}", escaped(name), escaped(value)),
        Pattern::Regex(regex) => format!("{BEFORE}{}=({regex}){AFTER}", escaped(name)),
    }
}

/// For RE2, which knows `\` before any punctuation.
fn escaped(text: &str) -> String {
    let special = |c: char| c.is_ascii_punctuation() && !matches!(c, '_' | '-' | '=');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

impl Lowered {
    fn words(&self) -> String {
        let part = if self.query { "query" } else { "header" };
        let (kind, value) = match &self.value {
            Pattern::Exact(value) => ("exact", value),
            Pattern::Regex(regex) => ("regex", regex),
        };
        format!("{part} {kind} {} {value}", self.name)
    }
}

fn matches(value: &str) -> Option<Vec<Match>> {
    value
        .lines()
        .map(|line| Match::new(line.split('\t').map(condition).collect::<Option<_>>()?))
        .collect()
}

fn condition(words: &str) -> Option<Condition> {
    let mut words = words.splitn(4, ' ');
    let (part, kind, name, value) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let part = match part {
        "header" => Part::Header,
        "query" => Part::Query,
        _ => return None,
    };
    let value = match kind {
        "exact" => Pattern::Exact(value.to_owned()),
        "regex" => Pattern::Regex(value.to_owned()),
        _ => return None,
    };
    let plain = Condition { part, name: name.to_owned(), value };
    Some(as_cookie(&plain).unwrap_or(plain))
}

/// A cookie that was written as the header that it comes in.
fn as_cookie(condition: &Condition) -> Option<Condition> {
    let Pattern::Regex(regex) = &condition.value else { return None };
    if condition.part != Part::Header || condition.name != COOKIE {
        return None;
    }
    let (name, value) = regex.strip_prefix(BEFORE)?.strip_suffix(AFTER)?.split_once('=')?;
    let value = match value.strip_prefix('(').and_then(|v| v.strip_suffix(')')) {
        Some(regex) => Pattern::Regex(regex.to_owned()),
        None => Pattern::Exact(unescaped(value)),
    };
    Some(Condition { part: Part::Cookie, name: unescaped(name), value })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(part: Part, name: &str, value: Pattern) -> Condition {
        Condition { part, name: name.to_owned(), value }
    }

    #[test]
    fn what_is_written_is_read() {
        let exact = |value: &str| Pattern::Exact(value.to_owned());
        let regex = |value: &str| Pattern::Regex(value.to_owned());
        let some = |conditions: Vec<Condition>| Match::new(conditions).expect("a condition");
        let matches = vec![
            some(vec![
                condition(Part::Header, "x-user", exact("a b  c")),
                condition(Part::Query, "beta", regex("1|2")),
            ]),
            some(vec![condition(Part::Cookie, "canary", exact("al.ways=(1)"))]),
            some(vec![condition(Part::Cookie, "c.1", regex("a|b"))]),
            some(vec![condition(Part::Header, "x-empty", exact(""))]),
        ];
        let weight = Weight::new(7).expect("a weight");
        let backends = Backends::new("demo", "shop").expect("a short name");
        for mirror in [None, Weight::new(10)] {
            let shape = Shape { weight, matches: matches.clone(), mirror };
            let mut route = json!({"metadata": {"name": "web"}});
            set(&mut route, &backends, Some(&shape));
            assert_eq!(read(&route, &backends), Said::Shape(shape), "{route}");
            set(&mut route, &backends, None);
            assert_eq!(route, json!({"metadata": {"name": "web"}}));
        }
    }

    #[test]
    fn a_value_that_is_none_of_ours_is_named() {
        let backends = Backends::new("demo", "shop").expect("a short name");
        for (key, value) in [
            ("split", "010"),
            ("split", "101"),
            ("mirror", "x"),
            ("match", "header x-user"),
            ("match", "body exact a b"),
            ("match", "header exact a b\n\nheader exact a c"),
        ] {
            let mut route = json!({"metadata": {"annotations": {"split.tidegate.dev/shop": "5"}}});
            route["metadata"]["annotations"][format!("{key}.tidegate.dev/shop")] = json!(value);
            let Said::Garbled(why) = read(&route, &backends) else { panic!("{key}: {value:?}") };
            assert!(why.contains(value) && why.contains(key), "{why}");
        }
    }
}
