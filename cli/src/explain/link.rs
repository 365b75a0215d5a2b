//! A link of the chain from the client to the verdict, and what became of it.

use serde::Serialize;

/// One thing that has to be so before the next one matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Link {
    #[serde(rename = "link")]
    pub(super) name: &'static str,
    #[serde(flatten)]
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub(super) enum State {
    Holds {
        says: String,
    },
    Broken(Break),
    /// It could not be read, which is neither good nor bad.
    Unknown(Blind),
}

/// What is wrong, told so that nobody has to look it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Break {
    pub(super) says: String,
    /// As it was found.
    pub(super) read: String,
    /// As it would have to be.
    pub(super) expected: String,
    /// Commands to paste, the first one only looks.
    pub(super) next: Vec<String>,
}

/// Why something isn't known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Blind {
    pub(super) says: String,
    /// For want of rights: another person may see it.
    pub(super) denied: bool,
    pub(super) next: Vec<String>,
}

/// What was read, or why it was not.
pub(super) type Seen<T> = Result<T, Blind>;

impl State {
    pub(super) fn holds(says: impl Into<String>) -> Self {
        Self::Holds { says: says.into() }
    }

    pub(super) fn unknown(says: impl Into<String>) -> Self {
        Self::Unknown(Blind { says: says.into(), denied: false, next: vec![] })
    }
}

impl From<Blind> for State {
    fn from(blind: Blind) -> Self {
        Self::Unknown(blind)
    }
}

impl From<Break> for State {
    fn from(broken: Break) -> Self {
        Self::Broken(broken)
    }
}

/// `5 pods`, `1 pod`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}
