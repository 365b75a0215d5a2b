//! What requests are told by: from the wire to [`Match`].

use std::collections::BTreeMap;

use rollout::{Condition, Match, Part};

use crate::parse::invalid;
use crate::{Invalid, Matcher, Pattern};

/// As many as a list, or one of a matcher's maps, may have.
const MOST: usize = 8;
/// Characters of a name or a value.
const LONGEST: usize = 256;

/// # Errors
/// The first entry below `field` that no request could be told by.
pub(crate) fn matches(field: &str, list: &[Matcher]) -> Result<Vec<Match>, Invalid> {
    at_most(field, list.len())?;
    list.iter().enumerate().map(|(i, matcher)| parse(&format!("{field}[{i}]"), matcher)).collect()
}

fn parse(field: &str, matcher: &Matcher) -> Result<Match, Invalid> {
    let Matcher { headers, cookies, query } = matcher;
    let mut conditions = part(&format!("{field}.headers"), Part::Header, headers)?;
    if cookies.len() > 1 {
        let why = format!(
            "{} entries: at most 1, for all cookies come in one header, and routes match a header once",
            cookies.len()
        );
        return Err(invalid(format!("{field}.cookies"), why));
    }
    conditions.extend(part(&format!("{field}.cookies"), Part::Cookie, cookies)?);
    conditions.extend(part(&format!("{field}.query"), Part::Query, query)?);
    let everybody = "without a condition it would be every request; name a header, a cookie or a query parameter";
    Match::new(conditions).ok_or_else(|| invalid(field, everybody))
}

fn part(
    field: &str,
    part: Part,
    patterns: &BTreeMap<String, Pattern>,
) -> Result<Vec<Condition>, Invalid> {
    at_most(field, patterns.len())?;
    let mut conditions: Vec<Condition> = vec![];
    for (name, pattern) in patterns {
        let wrong = |why: &str| invalid(field, format!("{name:?}: {why}"));
        is_token(name).map_err(wrong)?;
        let name = match part {
            Part::Header => name.to_lowercase(),
            Part::Cookie | Part::Query => name.clone(),
        };
        if part == Part::Header {
            is_for_all(&name).map_err(wrong)?;
        }
        if conditions.iter().any(|c| c.name == name) {
            return Err(wrong("is there twice, for case makes no difference; keep one"));
        }
        let value = value(&format!("{field}.{name}"), part, pattern)?;
        conditions.push(Condition { part, name, value });
    }
    Ok(conditions)
}

/// What the Gateway API has for names of headers and of query parameters, and RFC 6265 for those of cookies.
fn is_token(name: &str) -> Result<(), &'static str> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match name {
        "" => Err("a name is needed"),
        _ if name.starts_with(':') => Err(
            "pseudo headers are the route's own business; match a header, a cookie or a query parameter",
        ),
        _ if !name.chars().all(token) => {
            Err("only letters, digits and !#$%&'*+-.^_`|~ can be part of a name")
        }
        _ if name.len() > LONGEST => Err("at most 256 characters"),
        _ => Ok(()),
    }
}

fn is_for_all(header: &str) -> Result<(), &'static str> {
    match header {
        "cookie" => Err("cookies have a field of their own; use cookies"),
        "x-tidegate-parked" => Err("that name is ours; take another"),
        "host" => Err("the route's host names are its owner's; match something else than host"),
        _ => Ok(()),
    }
}

fn value(field: &str, part: Part, pattern: &Pattern) -> Result<rollout::Pattern, Invalid> {
    let (text, value) = match (&pattern.exact, &pattern.regex) {
        (Some(exact), None) => (exact, rollout::Pattern::Exact(exact.clone())),
        (None, Some(regex)) => (regex, rollout::Pattern::Regex(regex.clone())),
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid(field, "a value is either exact or a regex; set one of them"));
        }
    };
    let wrong = |why: &str| Err(invalid(field, format!("{text:?}: {why}")));
    if text.is_empty() {
        return wrong("a value is needed");
    }
    if text.chars().count() > LONGEST {
        return wrong("at most 256 characters");
    }
    if text.chars().any(char::is_control) {
        return wrong("line breaks, tabs and the like are in no value; take them out");
    }
    if text.trim() != text {
        return wrong("no value begins or ends with a space; take it away");
    }
    if pattern.regex.is_some()
        && let Err(error) = regex_syntax::parse(text)
    {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        return wrong(&format!("is no regular expression that every proxy knows (RE2): {why}"));
    }
    if part == Part::Cookie && pattern.exact.is_some() && text.contains(';') {
        return wrong("a semicolon ends a cookie, and is in no value; take it out");
    }
    Ok(value)
}

fn at_most(field: &str, found: usize) -> Result<(), Invalid> {
    if found > MOST {
        return Err(invalid(field, format!("{found} entries: at most {MOST}")));
    }
    Ok(())
}
