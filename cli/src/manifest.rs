//! Objects in files: YAML with several documents, JSON, and lists.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// An object, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) place: Place,
    pub(crate) object: Value,
}

/// `file:document`, from 1, as in `canary.yaml:2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    file: String,
    document: usize,
    /// In a `List`.
    item: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.document)?;
        self.item.map_or(Ok(()), |item| write!(f, ":items[{item}]"))
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("{}: is a folder; name its files, such as {}/*.yaml", .0.display(), .0.display())]
    Folder(PathBuf),
    #[error("{file}: can't be read")]
    Read { file: String, source: std::io::Error },
    #[error("{place}: is no YAML")]
    Syntax { place: Place, source: serde_norway::Error },
}

impl Document {
    pub(crate) fn text(&self, pointer: &str) -> Option<&str> {
        self.object.pointer(pointer)?.as_str()
    }

    pub(crate) fn api_version(&self) -> &str {
        self.text("/apiVersion").unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("/kind").unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.text("/metadata/namespace")
    }

    /// Of this group and kind, whatever the version.
    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        let of = self.api_version().rsplit_once('/').map_or("", |(group, _)| group);
        of == group && self.kind() == kind
    }

    /// Files often leave the namespace to whoever applies them.
    pub(crate) fn beside(&self, other: &Self) -> bool {
        match (self.namespace(), other.namespace()) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        }
    }
}

/// Where a canary is applied to: as it says, else as those say that it goes with, else where kubectl does.
pub(crate) fn home<'a>(canary: &'a Document, beside: &[&'a Document]) -> &'a str {
    let others =
        beside.iter().filter(|d| ["Deployment", "Service", "HTTPRoute"].contains(&d.kind()));
    canary
        .namespace()
        .or_else(|| others.copied().find_map(Document::namespace))
        .unwrap_or("default")
}

/// All objects of these files, in order. One that can't be read spoils its file only.
pub(crate) fn read(files: &[PathBuf]) -> Vec<Result<Document, ManifestError>> {
    files.iter().flat_map(|file| read_file(file)).collect()
}

fn read_file(file: &Path) -> Vec<Result<Document, ManifestError>> {
    if file.is_dir() {
        return vec![Err(ManifestError::Folder(file.to_owned()))];
    }
    let mut text = String::new();
    let (name, read) = if file == Path::new("-") {
        ("stdin".to_owned(), std::io::stdin().read_to_string(&mut text))
    } else {
        let read = std::fs::File::open(file).and_then(|mut f| f.read_to_string(&mut text));
        (file.display().to_string(), read)
    };
    match read {
        Ok(_) => documents(&name, &text),
        Err(source) => vec![Err(ManifestError::Read { file: name, source })],
    }
}

pub(crate) fn documents(file: &str, text: &str) -> Vec<Result<Document, ManifestError>> {
    let mut all = Vec::new();
    for (i, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let place = Place { file: file.to_owned(), document: i + 1, item: None };
        // By way of YAML's own value, which refuses a key that is there twice.
        let value = serde_norway::Value::deserialize(document).and_then(serde_norway::from_value);
        match value {
            Ok(Value::Null) => {}
            Ok(object) => all.extend(items(place, object).into_iter().map(Ok)),
            Err(source) => {
                all.push(Err(ManifestError::Syntax { place, source }));
                break;
            }
        }
    }
    all
}

fn items(place: Place, object: Value) -> Vec<Document> {
    let list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match object["items"].as_array() {
        Some(items) if list => items
            .iter()
            .enumerate()
            .map(|(i, item)| Document {
                place: Place { item: Some(i), ..place.clone() },
                object: item.clone(),
            })
            .collect(),
        _ => vec![Document { place, object }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        documents("f.yaml", text)
            .iter()
            .map(|d| match d {
                Ok(d) => format!("{} {}", d.place, d.kind()),
                Err(e) => e.to_string(),
            })
            .collect()
    }

    #[test]
    fn documents_are_counted_as_they_stand_and_empty_ones_are_left_out() {
        let text = "# a comment\n---\nkind: A\n---\n---\nkind: B\n";
        let found = places(text);
        assert!(found.iter().any(|p| p.ends_with(" A")) && found.len() == 2, "{found:?}");
    }

    #[test]
    fn lists_are_opened() {
        let text = "kind: List\nitems: [{kind: A}, {kind: B}]";
        assert_eq!(places(text), ["f.yaml:1:items[0] A", "f.yaml:1:items[1] B"]);
    }

    #[test]
    fn what_is_no_yaml_is_said_once_and_what_came_before_is_kept() {
        assert_eq!(
            places("kind: A\n---\nkind: [\n---\nkind: C"),
            ["f.yaml:1 A", "f.yaml:2: is no YAML"]
        );
        assert_eq!(places("a: 1\na: 2"), ["f.yaml:1: is no YAML"]);
    }

    #[test]
    fn json_is_yaml() {
        assert_eq!(places("{\"kind\": \"A\"}"), ["f.yaml:1 A"]);
    }
}
