//! What tests play for traffic systems that don't run on our bench, each value with its source.
//!
//! `upstream/<system>/<case>.yaml` holds objects as that system's controller leaves them, and what is to be made of them.
//! `upstream/controllers.yaml` says what each controller can do. A value that a controller writes (a condition's type, reason and
//! message, a `controllerName`, a label, a feature) has to be in the `covers` of a cite: a file of a public repository at a commit.

mod answers;
mod controllers;
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use controllers::{Controller, Filter, Matches, ParentKind, controllers};

/// The group that a reference to a parent has unless it says otherwise.
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// One situation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// `<system>/<case>`.
    #[serde(skip)]
    pub(super) name: String,
    /// What is going on, in a sentence.
    about: String,
    #[serde(default)]
    hostile: BTreeSet<Hostile>,
    cites: Vec<Cite>,
    /// The objects, as their controllers leave them. A route, if there is one, comes first.
    pub(super) played: Vec<Value>,
    pub(super) expect: Expect,
}

/// In which way a status deceives whoever takes it at its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Hostile {
    /// Its conditions never say which generation they are about.
    NoGeneration,
    /// True, about an older generation.
    StaleTrue,
    /// One parent has no entry.
    ParentMissing,
    /// There is no entry at all, and there won't be one.
    NeverWritten,
    /// The entry of a controller, or about a parent, that has nothing to do with the route any more.
    Leftover,
    /// Accepted, while a backend can't be found.
    RefsUnresolved,
    /// All is True, and what was written isn't done.
    SilentDrop,
    /// Some rules are done and others aren't.
    Partial,
    /// Another route wins.
    Conflict,
    /// The route is taken, and the requests go past it.
    Bypassed,
    /// What the proxies are told is older than the status.
    OldProgramme,
    /// The entry's reference is written differently from the route's.
    OtherShape,
    /// An empty list of features that doesn't mean that there are none.
    NoFeatures,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cite {
    /// `owner/name` on GitHub.
    repo: String,
    path: String,
    /// 40 hexadecimal digits.
    commit: String,
    /// Lines, or the name of a function.
    at: String,
    /// What it says, in our words.
    says: String,
    /// The values that are there; `*` stands for what is filled in.
    #[serde(default)]
    covers: BTreeSet<String>,
}

/// What is to be made of it, in our terms.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Expect {
    /// The route as it is now is taken, as far as the objects show; absent: they aren't about a route.
    pub(super) accepted: Option<bool>,
    /// Whether its conditions say which generation they are about; absent: there are none.
    generation: Option<Generation>,
    /// Why it isn't taken.
    because: Option<Because>,
    /// The system's own words that belong into the sentence: `<type> <status> <reason>: <message>`, or a part of it.
    words: Option<String>,
    /// What has to be told although the route is taken.
    complaint: Option<String>,
    /// The canary's share that the system shows its proxies, in percent.
    programmed: Option<u8>,
    /// Labels and annotations of the user's Service that `<service>-canary` has to have as well.
    carries: BTreeSet<String>,
    /// What the system is able to do by these objects.
    mirroring: Option<Mirror>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Generation {
    Told,
    Untold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Because {
    /// Nobody has answered for some parent.
    NoAnswer,
    /// The answer is about an older generation.
    OldAnswer,
    /// The answer is no.
    Refused,
    /// The answer is yes for a part of it.
    PartlyRefused,
    /// The answer is yes, and worth nothing: other objects show that the requests go elsewhere.
    Bypassed,
    /// The answer is yes, and this system's yes doesn't depend on what was written.
    NeverSaysNo,
    /// The proxies have been told something else.
    OldProgramme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mirror {
    No,
    Whole,
    Percent,
    /// The objects don't say: the table of controllers does.
    Untold,
}

/// Every case of every system, by name.
pub(super) fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> =
        entries(&root()).into_iter().filter(|p| p.is_dir()).flat_map(|p| entries(&p)).collect();
    files.sort();
    files.iter().map(|file| case(file)).collect()
}

fn case(file: &Path) -> Case {
    let mut case: Case = yaml(&fs::read_to_string(file).unwrap())
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let system = file.parent().and_then(Path::file_name).unwrap().to_string_lossy();
    case.name = format!("{system}/{}", file.file_stem().unwrap().to_string_lossy());
    case
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("upstream")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, serde_norway::Error> {
    serde_norway::from_str(text)
}

impl Case {
    fn system(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// What is wrong with it as a document; empty: nothing.
    fn faults(&self) -> Vec<String> {
        let mut faults = cite_faults(&self.cites, &played(&self.played));
        if self.about.trim().is_empty() {
            faults.push("about: empty".into());
        }
        faults.extend(self.expect.faults(&self.played));
        faults
    }
}

impl Expect {
    fn faults(&self, played: &[Value]) -> Vec<String> {
        let mut faults = Vec::new();
        if (self.accepted == Some(false)) != self.because.is_some() {
            faults.push("expect: `because` goes with `accepted: false`".into());
        }
        if self.accepted.is_some() != played.first().is_some_and(is_route) {
            faults.push("expect: `accepted` goes with a route, which comes first".into());
        }
        let said: Vec<String> = played.iter().flat_map(conditions).map(|c| sentence(&c)).collect();
        for words in self.words.iter().chain(&self.complaint) {
            if !said.iter().any(|s| s.contains(words.as_str())) {
                faults.push(format!("expect: no condition says `{words}`"));
            }
        }
        let on_services: BTreeSet<String> =
            played.iter().filter(|o| text(o, "/kind") == "Service").flat_map(values).collect();
        for key in self.carries.difference(&on_services) {
            faults.push(format!("expect: no Service has `{key}`"));
        }
        let route = played.first().filter(|o| is_route(o));
        let told: BTreeSet<bool> = route
            .map(conditions)
            .unwrap_or_default()
            .iter()
            .map(|c| c.get("observedGeneration").is_some())
            .collect();
        let generation = match (told.contains(&true), told.contains(&false)) {
            (false, false) => None,
            (true, false) => Some(Generation::Told),
            (_, true) => Some(Generation::Untold),
        };
        if self.generation != generation {
            faults.push(format!("expect: generation is {generation:?} in the route's status"));
        }
        faults
    }
}

/// Cites that say too little, values that no cite covers, and covers of what isn't played.
fn cite_faults(cites: &[Cite], played: &BTreeSet<String>) -> Vec<String> {
    let mut faults: Vec<String> = cites.iter().flat_map(Cite::faults).collect();
    if cites.is_empty() {
        faults.push("cites: none".into());
    }
    let covers: BTreeSet<&String> = cites.iter().flat_map(|c| &c.covers).collect();
    for value in played {
        if !covers.iter().any(|pattern| stands_for(pattern, value)) {
            faults.push(format!("`{value}` is played, and no cite covers it"));
        }
    }
    for pattern in covers {
        if !played.iter().any(|value| stands_for(pattern, value)) {
            faults.push(format!("`{pattern}` is covered, and not played"));
        }
    }
    faults
}

impl Cite {
    fn faults(&self) -> Vec<String> {
        let Self { repo, path, commit, at, says, covers: _ } = self;
        let name = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let checks = [
            ("repo", repo.split_once('/').is_some_and(|(owner, repo)| name(owner) && name(repo))),
            ("path", !path.is_empty() && !path.starts_with('/')),
            (
                "commit",
                commit.len() == 40 && commit.chars().all(|c| "0123456789abcdef".contains(c)),
            ),
            ("at", !at.trim().is_empty()),
            ("says", says.split_whitespace().count() > 2),
        ];
        let wrong = checks.into_iter().filter(|(_, right)| !right);
        wrong.map(|(field, _)| format!("cite of {repo} {path}: {field}")).collect()
    }
}

/// `*` in a pattern stands for any text.
fn stands_for(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((start, rest)) => value.strip_prefix(start).is_some_and(|value| {
            value
                .char_indices()
                .map(|(i, _)| i)
                .chain([value.len()])
                .any(|i| stands_for(rest, &value[i..]))
        }),
    }
}

/// Every value in these objects that comes from a system and not from us or the user.
fn played(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().flat_map(values).collect()
}

fn values(object: &Value) -> Vec<String> {
    let keys = |pointer: &str| -> Vec<String> {
        let map = object.pointer(pointer).and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, _)| key.clone()).filter(|key| !ours(key)).collect()
    };
    let mut values = [keys("/metadata/labels"), keys("/metadata/annotations")].concat();
    for condition in conditions(object) {
        values.extend(texts(&condition, &["/type", "/reason", "/message"]));
    }
    for entry in list(object, "/status/parents") {
        values.extend(texts(entry, &["/controllerName", "/parentRef/group"]));
    }
    for feature in list(object, "/status/supportedFeatures") {
        values.extend(texts(feature, &["/name"]));
    }
    if text(object, "/kind") == "GatewayClass" {
        values.extend(texts(object, &["/spec/controllerName"]));
    }
    values.retain(|value| !value.is_empty() && value != GATEWAY_API);
    values
}

/// Ours, or Kubernetes' own.
fn ours(key: &str) -> bool {
    ["split.tidegate.dev/", "mirror.tidegate.dev/", "kubernetes.io/"]
        .iter()
        .any(|p| key.starts_with(p))
}

/// Of the object itself, and of its parents.
fn conditions(object: &Value) -> Vec<Value> {
    let parents = list(object, "/status/parents");
    let lists = parents.iter().chain([&object["status"]]);
    lists.flat_map(|holder| list(holder, "/conditions")).cloned().collect()
}

fn sentence(condition: &Value) -> String {
    let [kind, status, reason, message] =
        ["/type", "/status", "/reason", "/message"].map(|p| text(condition, p));
    format!("{kind} {status} {reason}: {message}")
}

fn is_route(object: &Value) -> bool {
    ["HTTPRoute", "GRPCRoute"].contains(&text(object, "/kind").as_str())
}

fn texts(value: &Value, pointers: &[&str]) -> Vec<String> {
    pointers.iter().map(|p| text(value, p)).collect()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
