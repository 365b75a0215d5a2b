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
//! come in, and a regex says by itself that it is about the whole value. So the admission policies, which do the same in CEL, only have to split text.

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

    pub(super) fn match_annotation(&self) -> String {
        format!("match.tidegate.dev/{}", self.service)
    }

    pub(super) fn mirror_annotation(&self) -> String {
        format!("mirror.tidegate.dev/{}", self.service)
    }
}

/// All of ours with the values that this shape has; `None`: it isn't there.
fn of(backends: &Backends, shape: Option<&Shape>) -> [(String, Option<String>); 3] {
    let matches = shape.filter(|s| !s.matches.is_empty()).map(|s| lines(&s.matches));
    let mirror = shape.and_then(|s| s.mirror);
    [
        (backends.annotation(), shape.map(|s| s.weight.percent().to_string())),
        (backends.match_annotation(), matches),
        (backends.mirror_annotation(), mirror.map(|share| share.percent().to_string())),
    ]
}

/// What one Service's annotations say, each by itself: what isn't as it should be isn't there. So do the policies take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) weight: Weight,
    /// By line of the annotation, none for a line that is none of ours.
    pub(super) lines: Vec<Option<Vec<Lowered>>>,
    pub(super) mirror: Option<Weight>,
}

/// The Services that a route is split for, whatever the values say.
pub(super) fn services(route: &Value) -> impl Iterator<Item = &str> {
    let all = route.pointer("/metadata/annotations").and_then(Value::as_object);
    all.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix(Backends::PREFIX))
}

/// What is told of this Service; `None`: no share is.
pub(super) fn told(route: &Value, service: &str) -> Option<Told> {
    let get = |key: &str| object::annotation(route, &format!("{key}.tidegate.dev/{service}"));
    let matches = get("match").filter(|value| value.chars().count() <= LONGEST_MATCH);
    Some(Told {
        weight: percent(get("split")?)?,
        lines: matches.map(|value| each_line(value).collect()).unwrap_or_default(),
        mirror: get("mirror").and_then(percent).filter(|share| *share > Weight::ZERO),
    })
}

/// In characters, of the annotation with the matches: the policies look at each of them, and what an expression may cost is limited.
pub(super) const LONGEST_MATCH: usize = 8192;

/// The condition that no request meets: a line that has it too is parked.
///
/// A rule comes with a cluster of the gateway's and takes it along, and Envoy Gateway's proxies have it a moment after they send
/// requests there, and drop it a moment before they stop: of 7,232 testers 34 got a 503 (1.9.1, 200 a second, 15 times on and off).
/// So a line comes parked, and one that is no longer wanted is parked until the release: when nobody is sent there.
///
/// Its value is the route's uid: nobody outside the cluster knows it, so that nobody meets the condition on purpose.
const PARKED: &str = "x-tidegate-parked";

/// A line with this condition.
pub(super) fn is_parked(line: &[Lowered]) -> bool {
    line.iter().any(|c| !c.query && c.name == PARKED)
}

/// The lines of a route that is split, without that condition, and whether they have it.
fn lines_there(route: &Value, backends: &Backends) -> Vec<(String, bool)> {
    let said = object::annotation(route, &backends.match_annotation());
    let said = said.filter(|_| held(route, backends)).unwrap_or_default();
    let line = |line: Vec<Lowered>| {
        let parked = is_parked(&line);
        let kept = line.iter().filter(|c| c.query || c.name != PARKED);
        let kept: Vec<_> = kept.map(Lowered::words).collect();
        (!kept.is_empty()).then(|| (kept.join("\t"), parked))
    };
    each_line(said).flatten().filter_map(line).collect()
}

/// Whether a kind of request that is wanted would be sent somewhere that the gateway may not have yet: it isn't there, or parked in
/// a version of the route that the gateway hasn't `accepted`.
pub(super) fn is_early(live: &Value, backends: &Backends, one: &Match, accepted: bool) -> bool {
    let (there, wanted) = (lines_there(live, backends), line(one));
    match there.iter().find(|(line, _)| *line == wanted) {
        None => true,
        Some((_, parked)) => *parked && !accepted,
    }
}

/// As [`set`], but each line that is there and isn't wanted, or only `later`, is parked, so that all keep their places.
pub(super) fn set_parking(
    route: &mut Value,
    backends: &Backends,
    shape: &Shape,
    later: impl Fn(&Match) -> bool,
) {
    let uid = object::text(route, "/metadata/uid").to_owned();
    let value = if uid.is_empty() { "1" } else { &uid };
    let before: Vec<_> = lines_there(route, backends).into_iter().map(|(line, _)| line).collect();
    let now: Vec<_> = shape.matches.iter().filter(|m| !later(m)).map(line).collect();
    let new = shape.matches.iter().map(line).filter(|line| !before.contains(line));
    let all = before.iter().cloned().chain(new).map(|line| {
        if now.contains(&line) { line } else { format!("{line}\theader exact {PARKED} {value}") }
    });
    let all: Vec<_> = all.collect();
    let [split, (key, _), mirror] = of(backends, Some(shape));
    let matches = (!all.is_empty()).then(|| all.join("\n"));
    write(route, [split, (key, matches), mirror]);
}

/// Ours as they are in an object.
pub(super) fn values<'a>(route: &'a Value, backends: &Backends) -> [(String, Option<&'a str>); 3] {
    [backends.annotation(), backends.match_annotation(), backends.mirror_annotation()]
        .map(|key| (key.clone(), object::annotation(route, &key)))
}

/// Writes them into an object.
pub(super) fn set(route: &mut Value, backends: &Backends, shape: Option<&Shape>) {
    write(route, of(backends, shape));
}

fn write(route: &mut Value, values: [(String, Option<String>); 3]) {
    let Some(metadata) = route.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let Some(annotations) = annotations.as_object_mut() else { return };
    for (key, value) in values {
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
    // Nothing copied is no annotation at all.
    let copies = |value| percent(value).filter(|share| *share > Weight::ZERO);
    let mirror = get(&backends.mirror_annotation()).map(copies);
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
    matches.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn line(one: &Match) -> String {
    let words: Vec<_> = lowered(one).iter().map(Lowered::words).collect();
    words.join("\t")
}

/// In characters, of the annotation with the matches.
pub(super) fn told_length(route: &Value, backends: &Backends) -> usize {
    let value = object::annotation(route, &backends.match_annotation()).unwrap_or_default();
    value.chars().count()
}

/// In characters, of the annotation that tells these.
pub(super) fn match_length(matches: &[Match]) -> usize {
    lines(matches).chars().count()
}

/// The conditions of a match as routes have them.
pub(super) fn lowered(one: &Match) -> Vec<Lowered> {
    let mut all: Vec<Lowered> = Vec::new();
    for Condition { part, name, value } in one.conditions() {
        let (query, name, value) = match part {
            Part::Header => (false, name.clone(), whole(value)),
            Part::Query => (true, name.clone(), whole(value)),
            Part::Cookie => (false, COOKIE.to_owned(), Pattern::Regex(cookie(name, value))),
        };
        all.push(Lowered { query, name, value });
    }
    all
}

/// Of the whole value: Traefik's are also true of a part of it (3.7.13), those of others never.
fn whole(value: &Pattern) -> Pattern {
    match value {
        Pattern::Exact(value) => Pattern::Exact(value.clone()),
        Pattern::Regex(regex) => Pattern::Regex(format!("{BEGIN}{regex}{END}")),
    }
}

const BEGIN: &str = "^(?:";
const END: &str = ")$";
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

    fn read(words: &str) -> Option<Self> {
        let mut words = words.splitn(4, ' ');
        let (part, kind) = (words.next()?, words.next()?);
        let (name, value) = (words.next()?.to_owned(), words.next()?.to_owned());
        let query = match part {
            "header" => false,
            "query" => true,
            _ => return None,
        };
        let value = match kind {
            "exact" => Pattern::Exact(value),
            "regex" => Pattern::Regex(value),
            _ => return None,
        };
        Some(Self { query, name, value })
    }
}

fn matches(value: &str) -> Option<Vec<Match>> {
    let lines = each_line(value).filter(|line| !line.as_ref().is_some_and(|line| is_parked(line)));
    lines.map(|line| Match::new(line?.iter().map(condition).collect())).collect()
}

/// Each line as the conditions that a route has of it; `None`: it is none of ours.
fn each_line(value: &str) -> impl Iterator<Item = Option<Vec<Lowered>>> {
    let lines = value.split('\n').filter(move |_| !value.is_empty());
    lines.map(|line| line.split('\t').map(Lowered::read).collect())
}

fn condition(words: &Lowered) -> Condition {
    let part = if words.query { Part::Query } else { Part::Header };
    as_asked(Condition { part, name: words.name.clone(), value: words.value.clone() })
}

/// A condition as a person asked for it: the inverse of lowering.
pub(super) fn as_asked(lowered: Condition) -> Condition {
    if let Some(cookie) = as_cookie(&lowered) {
        return cookie;
    }
    let Pattern::Regex(regex) = &lowered.value else { return lowered };
    match regex.strip_prefix(BEGIN).and_then(|r| r.strip_suffix(END)) {
        Some(regex) => Condition { value: Pattern::Regex(regex.to_owned()), ..lowered },
        None => lowered,
    }
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
    fn a_line_that_is_no_longer_wanted_is_parked_and_keeps_its_place() {
        let backends = Backends::new("demo", "shop").expect("a short name");
        let one = |value: &str| {
            let value = Pattern::Exact(value.to_owned());
            Match::new(vec![condition(Part::Header, "x-user", value)]).expect("a condition")
        };
        let mut route = json!({"metadata": {"name": "web"}});
        let mut told = |matches: &[Match]| {
            let shape = Shape { matches: matches.to_vec(), ..Shape::default() };
            set_parking(&mut route, &backends, &shape, |_| false);
            assert_eq!(read(&route, &backends), Said::Shape(shape), "{route}");
            let text = object::annotation(&route, "match.tidegate.dev/shop");
            text.map(|text| {
                text.replace("header exact x-user ", "")
                    .replace("\theader exact x-tidegate-parked 1", "-")
            })
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[one("a"), one("b")]).as_deref(), Some("a\nb"));
        assert_eq!(told(&[one("b")]).as_deref(), Some("a-\nb"));
        assert_eq!(told(&[one("c")]).as_deref(), Some("a-\nb-\nc"));
        assert_eq!(told(&[]).as_deref(), Some("a-\nb-\nc-"));
        assert_eq!(told(&[one("a")]).as_deref(), Some("a\nb-\nc-"));
    }

    #[test]
    fn a_value_that_is_none_of_ours_is_named() {
        let backends = Backends::new("demo", "shop").expect("a short name");
        for (key, value) in [
            ("split", "010"),
            ("split", "101"),
            ("mirror", "x"),
            ("mirror", "0"),
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
