//! Pieces of `PromQL`.

use crate::check::Window;

/// gRPC's statuses that are the server's fault, as 5xx is with HTTP: unknown, deadline exceeded,
/// unimplemented, internal, unavailable and data loss. By number and by name.
pub(super) const GRPC_FAILURES: [(u8, &str); 6] = [
    (2, "UNKNOWN"),
    (4, "DEADLINE_EXCEEDED"),
    (12, "UNIMPLEMENTED"),
    (13, "INTERNAL"),
    (14, "UNAVAILABLE"),
    (15, "DATA_LOSS"),
];

/// A label value that no object in Kubernetes can have: an arm without pods matches nothing, where
/// an empty pattern would match every series that lacks the label.
const NOBODY: &str = "no pods";

/// A window's length as a range: whole seconds, so that it never reaches back before its start,
/// and one at least, which is what `PromQL` accepts.
pub(super) fn range(window: Window) -> String {
    format!("{}s", window.length().num_seconds().max(1))
}

/// The pattern that matches any of `texts`, written for the inside of a double-quoted string.
/// Sorted and without doubles, so that the same pods always make the same query.
pub(super) fn any_of<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let mut all: Vec<String> = texts.into_iter().map(|text| literal(text.as_ref())).collect();
    all.sort();
    all.dedup();
    if all.is_empty() { NOBODY.to_owned() } else { all.join("|") }
}

/// `text` as a pattern that matches only itself. The backslash is doubled: its string takes
/// one away before the pattern is read.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_alphanumeric() && !matches!(c, '-' | '_' | '/' | ':' | ' ' | '@') {
            out.push_str(r"\\");
        }
        out.push(c);
    }
    out
}
