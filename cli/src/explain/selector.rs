//! The first series that a `PromQL` expression asks for: enough to find out which part of it matches nothing.

/// `name{label="value",...}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) name: String,
    pub(super) matchers: Vec<Matcher>,
}

/// `label=~"value"`, kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) label: String,
    /// `=~"value"`, with its operator.
    pub(super) rest: String,
}

impl Selector {
    /// `None`: there is no selector with a name before its braces.
    pub(super) fn first(promql: &str) -> Option<Self> {
        let open = promql.find('{')?;
        let (before, after) = (promql.get(..open)?, promql.get(open + 1..)?);
        let start = before.rfind(|c: char| !is_name(c)).map_or(0, |i| i + 1);
        let name = before.get(start..).filter(|name| !name.is_empty())?.to_owned();
        let matchers = parts(after).iter().filter_map(|part| Matcher::of(part)).collect();
        Some(Self { name, matchers })
    }

    /// All series of the name.
    pub(super) fn bare(&self) -> String {
        format!("count({})", self.name)
    }

    /// Those that this matcher alone leaves.
    pub(super) fn with(&self, matcher: &Matcher) -> String {
        format!("count({}{{{}{}}})", self.name, matcher.label, matcher.rest)
    }

    /// Those that have the label at all.
    pub(super) fn having(&self, label: &str) -> String {
        format!("count({}{{{label}!=\"\"}})", self.name)
    }

    /// Those that have it under the name that Prometheus gives it when the target has such a label itself.
    pub(super) fn exported(&self, matcher: &Matcher) -> String {
        format!("count({}{{exported_{}{}}})", self.name, matcher.label, matcher.rest)
    }

    /// Any metric that begins with the same word: what its proxy always has.
    pub(super) fn family(&self) -> String {
        format!("count({{__name__=~\"{}_.+\"}})", self.word())
    }

    pub(super) fn word(&self) -> &str {
        self.name.split('_').next().unwrap_or(&self.name)
    }
}

impl Matcher {
    fn of(part: &str) -> Option<Self> {
        let part = part.trim();
        let end = part.find(['=', '!'])?;
        let (label, rest) = (part.get(..end)?.trim(), part.get(end..)?);
        (!label.is_empty()).then(|| Self { label: label.to_owned(), rest: rest.to_owned() })
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// What is between commas up to the closing brace, both not counted inside of quotes.
fn parts(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '}') => break,
            (None, ',') => {
                all.push(String::new());
                continue;
            }
            (None, '"' | '\'' | '`') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
        let Some(part) = all.last_mut() else { break };
        part.push(c);
        if quote.is_some_and(|q| q != '`') && c == '\\' {
            part.extend(chars.next());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(promql: &str, name: &str, matchers: &[(&str, &str)]) {
        let found = Selector::first(promql).expect("a selector");
        let told: Vec<_> =
            found.matchers.iter().map(|m| (m.label.as_str(), m.rest.as_str())).collect();
        assert_eq!((found.name.as_str(), told.as_slice()), (name, matchers), "{promql}");
    }

    #[test]
    fn the_first_selector_is_found_wherever_it_is() {
        reads(r#"up{job="a"}"#, "up", &[("job", r#"="a""#)]);
        reads(
            r#"100 * (sum(rate(traefik_service_requests_total{service=~"(a|b)-[0-9]{2},}\\.x@k", code!~"5.."}[10s])) or vector(0))"#,
            "traefik_service_requests_total",
            &[("service", r#"=~"(a|b)-[0-9]{2},}\\.x@k""#), ("code", r#"!~"5..""#)],
        );
        reads(r#"sum(x:y{a="say \"}\""}) / z{b="c"}"#, "x:y", &[("a", r#"="say \"}\"""#)]);
        reads("sum(rate(x{}[1m]))", "x", &[]);
        assert_eq!(Selector::first("vector(1)"), None);
        assert_eq!(Selector::first(r#"{job="a"}"#), None);
    }

    #[test]
    fn each_matcher_is_asked_for_alone() {
        let selector = Selector::first(r#"rate(envoy_rq{a="1",b=~"2"}[1m])"#).expect("a selector");
        let [a, b] = &selector.matchers[..] else { panic!("{selector:?}") };
        assert_eq!(selector.bare(), "count(envoy_rq)");
        assert_eq!(selector.with(a), r#"count(envoy_rq{a="1"})"#);
        assert_eq!(selector.exported(b), r#"count(envoy_rq{exported_b=~"2"})"#);
        assert_eq!(selector.having("b"), r#"count(envoy_rq{b!=""})"#);
        assert_eq!(selector.family(), r#"count({__name__=~"envoy_.+"})"#);
    }
}
