//! The links from the traffic system to the verdict: Prometheus has its metrics, the queries match them, requests are counted.

use analysis::{Arm, Subject};
use api::MetricStatus;
use chrono::TimeDelta;
use serde_json::Value;

use super::facts::Facts;
use super::link::{Break, State};
use super::measured::{Answer, Answers, Asked, Measured, Probe, Unmet};
use super::object::{map, name, namespace, selects, text};
use super::route::client_command;
use crate::clock::span;

/// Fewer than this and none at all may be chance: e^-5 is less than 1 in 100.
const ENOUGH: f64 = 5.0;
/// Longer than any gateway needs to act by a new share, and Prometheus to hear of it.
const SETTLED: TimeDelta = TimeDelta::seconds(30);

/// Prometheus answers, and has what the queries are about.
pub(super) fn scrape(facts: &Facts) -> State {
    match &facts.measured {
        Measured::NotAsked => scrape_by_status(facts),
        Measured::Nothing(why) => State::unknown(why.clone()),
        Measured::Silent { url, why } => Break {
            says: "Prometheus does not answer".to_owned(),
            read: why.clone(),
            expected: "an answer to vector(1)".to_owned(),
            next: reach(facts, url, "vector(1)"),
        }
        .into(),
        Measured::Asked(answers) => scraped(facts, answers),
    }
}

fn scraped(facts: &Facts, answers: &Answers) -> State {
    let builtin = answers.all.iter().filter(|a| !is_custom(facts, a));
    let lost = builtin.filter_map(|a| Some((a, a.probe.as_ref()?))).find(|(_, p)| !p.family);
    let Some((asked, probe)) = lost else {
        return State::holds(format!("{} answers, and has the proxy's metrics", answers.url));
    };
    let word = probe.selector.word();
    let mut next = vec![curl(&answers.url, "count by (job) (up)")];
    next.push(curl(&answers.url, "up == 0"));
    next.extend(scrapers(facts));
    Break {
        says: format!("Prometheus does not scrape {}", whose(word)),
        read: format!("no metric begins with {word}_; asked for {asked}: {}", probe.selector.name),
        expected: format!("{} on /metrics of a target of Prometheus", probe.selector.name),
        next,
    }
    .into()
}

/// Whose metrics begin so.
fn whose(word: &str) -> &'static str {
    match word {
        "traefik" => "Traefik",
        "envoy" => "the Envoy proxies",
        "istio" => "Istio's proxies",
        "outbound" | "response" | "request" => "Linkerd's proxies",
        "hubble" => "Hubble",
        "http" => "the pods",
        _ => "what has these metrics",
    }
}

/// What the controller has found is all that is known.
fn scrape_by_status(facts: &Facts) -> State {
    let waiting = facts.canary.status.as_ref().and_then(|s| s.waiting_for.as_ref());
    if let Some(waiting) = waiting.filter(|w| w.reason == "MetricsError") {
        let url = told_address(facts);
        return Break {
            says: "the controller gets no usable answer from Prometheus".to_owned(),
            read: waiting.message.clone(),
            expected: "an answer".to_owned(),
            next: reach(facts, &url, "vector(1)"),
        }
        .into();
    }
    match last_check(facts) {
        [] => ask_yourself(facts, "no check was made yet, and nobody said where Prometheus is"),
        _ => State::holds("the controller's last check had an answer of Prometheus"),
    }
}

fn ask_yourself(facts: &Facts, why: &str) -> State {
    super::link::Blind { says: why.to_owned(), denied: false, next: ask_again(facts) }.into()
}

/// With Prometheus at hand: through a tunnel, if its address is one of the cluster's own.
fn ask_again(facts: &Facts) -> Vec<String> {
    let told = told_address(facts);
    let again = |url: &str| {
        format!("tidegate explain {} -n {} --metrics-server {url}", facts.name(), facts.namespace())
    };
    match service_of(&told) {
        Some(service) => vec![tunnel(&service), again(LOCAL)],
        None => vec![again(&told)],
    }
}

/// The near end of a tunnel.
const LOCAL: &str = "http://localhost:9090";

fn tunnel((service, space, port): &(String, String, u16)) -> String {
    format!("kubectl port-forward -n {space} service/{service} 9090:{port}")
}

fn last_check(facts: &Facts) -> &[MetricStatus] {
    facts.canary.status.as_ref().map_or(&[], |s| &s.metrics)
}

/// Where the controller's own Deployment says that Prometheus is.
fn told_address(facts: &Facts) -> String {
    let deployments = facts.controllers.iter().flatten();
    let mut args =
        deployments.flat_map(|d| super::object::list(d, "/spec/template/spec/containers"));
    let found = args.find_map(|container| {
        let args: Vec<&str> =
            super::object::list(container, "/args").iter().filter_map(Value::as_str).collect();
        let at = args.iter().position(|a| *a == "--metrics-server")?;
        args.get(at + 1).map(|url| (*url).to_owned())
    });
    found.unwrap_or_else(|| LOCAL.to_owned())
}

/// How to ask by hand, and whether anybody is there to ask.
fn reach(facts: &Facts, url: &str, promql: &str) -> Vec<String> {
    let Some(service) = service_of(&told_address(facts)) else { return vec![curl(url, promql)] };
    let (name, space, _) = &service;
    let look =
        format!("kubectl get endpointslices -n {space} -l kubernetes.io/service-name={name}");
    let url = if service_of(url).is_some() { LOCAL } else { url };
    vec![look, tunnel(&service), curl(url, promql)]
}

/// Service, namespace and port of `http://prometheus.monitoring:9090`.
fn service_of(url: &str) -> Option<(String, String, u16)> {
    let url = url::Url::parse(url).ok()?;
    let mut labels = url.host_str()?.split('.');
    let (service, space) = (labels.next()?, labels.next()?);
    let cluster = labels.next().is_none_or(|l| l == "svc");
    let name = |s: &str| !s.is_empty() && s.chars().any(|c| c.is_ascii_alphabetic());
    (cluster && name(service) && name(space))
        .then(|| (service.to_owned(), space.to_owned(), url.port_or_known_default().unwrap_or(80)))
}

fn curl(url: &str, promql: &str) -> String {
    format!("curl -sG {url}/api/v1/query --data-urlencode {}", quoted(&format!("query={promql}")))
}

/// For a shell, as one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The monitors that might have to be looked at.
fn scrapers(facts: &Facts) -> Vec<String> {
    if facts.monitors.as_ref().is_ok_and(|all| !all.is_empty()) {
        vec!["kubectl get podmonitors.monitoring.coreos.com,servicemonitors.monitoring.coreos.com -A".to_owned()]
    } else {
        vec![]
    }
}

/// Whether the run's spec has this query itself.
fn is_custom(facts: &Facts, asked: &Asked) -> bool {
    let Subject::Metric(name) = &asked.query.subject else { return false };
    let run = facts.run.as_ref().ok().and_then(Option::as_ref);
    run.is_some_and(|run| {
        run.spec.plan.analysis.metrics.iter().any(|m| m.name == *name && m.query.is_some())
    })
}

/// The queries find series.
pub(super) fn query(facts: &Facts) -> State {
    match &facts.measured {
        Measured::NotAsked => query_by_status(facts),
        Measured::Nothing(why) => State::unknown(why.clone()),
        Measured::Silent { .. } => State::unknown("Prometheus does not answer"),
        Measured::Asked(answers) => queried(facts, answers),
    }
}

fn queried(facts: &Facts, answers: &Answers) -> State {
    for asked in &answers.all {
        if let Answer::Failed(why) = &asked.answer {
            return Break {
                says: format!("Prometheus refuses the query for {asked}"),
                read: why.clone(),
                expected: "one value".to_owned(),
                next: vec![curl(&answers.url, &asked.query.promql)],
            }
            .into();
        }
        if let Some(broken) = asked.probe.as_ref().and_then(|p| mismatch(facts, answers, asked, p))
        {
            return broken;
        }
    }
    let found = answers.all.iter().filter(|a| matches!(a.answer, Answer::Value(_))).count();
    State::holds(format!("{found} of {} queries find series", answers.all.len()))
}

/// Why a query finds nothing, if that is not for want of requests.
fn mismatch(facts: &Facts, answers: &Answers, asked: &Asked, probe: &Probe) -> Option<State> {
    let series = &probe.selector.name;
    let broken = |says: String, read: String, expected: String, look: String| {
        let mut next = vec![curl(&answers.url, &look)];
        next.extend(scrapers(facts));
        next.push(curl(&answers.url, &asked.query.promql));
        Some(State::from(Break { says, read, expected, next }))
    };
    if !probe.series {
        if !is_custom(facts, asked) && series_come_with_requests(series) && !counts_nothing(answers)
        {
            return None;
        }
        return broken(
            format!("Prometheus knows no metric {series}, which {asked} is made of"),
            missing(series).to_owned(),
            format!("series of {series}"),
            format!("count by (__name__) ({{__name__=~\"{}_.+\"}})", probe.selector.word()),
        );
    }
    let Unmet { matcher, has_label, exported } = probe.unmet.first()?;
    let (label, rest) = (&matcher.label, &matcher.rest);
    let look = format!("count by ({label}) ({series})");
    if *exported {
        return broken(
            format!("the series of {series} have the label {label} of the scrape target, not of the proxy"),
            format!("the query for {asked} finds it as exported_{label}, and nothing as {label}"),
            "the proxy's own labels: honorLabels: true in the monitor, honor_labels in the scrape config".to_owned(),
            format!("count by ({label}, exported_{label}) ({series})"),
        );
    }
    if !has_label {
        return broken(
            format!("the series of {series} have no label {label}, by which {asked} is told apart"),
            format!("none has {label}"),
            format!("{label}{rest}"),
            format!("count without (instance) ({series})"),
        );
    }
    // The other values are other workloads': without a request of ours there is no series yet.
    if !is_custom(facts, asked) && series_come_with_requests(series) {
        return None;
    }
    broken(
        format!("no series of {series} has what the query for {asked} asks for"),
        unscraped(facts, asked).unwrap_or_else(|| format!("other values of {label} only")),
        format!("{label}{rest}"),
        look,
    )
}

/// Counted from the first request on: without one there is nothing to match. Envoy has an endpoint's from its first moment.
fn series_come_with_requests(series: &str) -> bool {
    !series.starts_with("envoy_")
}

/// The proxy is asked things, and counts none by Service.
fn counts_nothing(answers: &Answers) -> bool {
    let requests = [Arm::Canary, Arm::Stable].map(|arm| answers.requests(arm));
    requests.into_iter().flatten().any(|a| matches!(a.answer, Answer::Value(v) if v > 0.0))
}

/// What switches such metrics on.
fn missing(series: &str) -> &'static str {
    match series {
        s if s.starts_with("envoy_cluster_endpoint_") => {
            "Envoy has others; statistics per endpoint are off: telemetry.metrics.enablePerEndpointStats of the EnvoyProxy"
        }
        s if s.starts_with("traefik_service_") => {
            "Traefik has others; metrics by service are off: metrics.prometheus.addServicesLabels"
        }
        s if s.starts_with("hubble_http_") => {
            "Hubble has others; httpV2 with labelsContext=destination_namespace,destination_workload is not among hubble.metrics.enabled"
        }
        s if s.starts_with("http_request_duration_seconds") => {
            "the pods don't have it, or nobody scrapes them"
        }
        _ => "no series of that name",
    }
}

/// A `PodMonitor` or `ServiceMonitor` that takes stable and leaves the canary out.
fn unscraped(facts: &Facts, asked: &Asked) -> Option<String> {
    if asked.query.arm != Arm::Canary {
        return None;
    }
    let monitors = facts.monitors.as_ref().ok()?;
    let (stable, canary) = (facts.stable_pods(), facts.canary_pods());
    let (stable, canary) = (stable.first()?, canary.first()?);
    let services = [&facts.service, &facts.canary_service].map(|s| s.as_ref().ok()?.as_ref());
    let [service, canary_service] = services;
    monitors.iter().find_map(|monitor| {
        let of_pods = text(monitor, "/kind") == "PodMonitor";
        let (taken, left) = if of_pods { (*stable, *canary) } else { (service?, canary_service?) };
        let selector = monitor.pointer("/spec/selector")?;
        let takes = |object: &Value| selects(selector, &map(object, "/metadata/labels"));
        (takes(taken) && !takes(left)).then(|| {
            format!(
                "{} {}/{} selects {} and not {}",
                text(monitor, "/kind"),
                namespace(monitor),
                name(monitor),
                name(taken),
                name(left)
            )
        })
    })
}

fn query_by_status(facts: &Facts) -> State {
    let checks = last_check(facts);
    let empty = checks.iter().find(|m| m.verdict == "NoData");
    let waiting = facts.canary.status.as_ref().and_then(|s| s.waiting_for.as_ref());
    let no_data = waiting.filter(|w| w.reason == "NoData");
    if let Some(metric) = empty.filter(|_| no_data.is_some()) {
        return Break {
            says: format!("Prometheus answers, and knows nothing about {}", metric.name),
            read: no_data.map(|w| w.message.clone()).unwrap_or_default(),
            expected: "a value; which part finds nothing is told with --metrics-server URL"
                .to_owned(),
            next: [
                reach(facts, &told_address(facts), &metric.query),
                ask_again(facts).into_iter().rev().take(1).collect(),
            ]
            .concat(),
        }
        .into();
    }
    match checks {
        [] => ask_yourself(facts, "no check was made yet"),
        some => State::holds(format!("the last check had values of {} metrics", some.len())),
    }
}

/// Requests arrive, and their share reaches the canary.
pub(super) fn requests(facts: &Facts) -> State {
    let (canary, stable, window) = match &facts.measured {
        Measured::Asked(answers) => {
            let of = |arm| match answers.requests(arm).map(|a| &a.answer) {
                Some(Answer::Value(v)) => *v,
                // The links before have seen to it that the query is right.
                Some(Answer::Empty | Answer::Failed(_)) | None => 0.0,
            };
            (of(Arm::Canary), of(Arm::Stable), answers.window)
        }
        Measured::NotAsked | Measured::Nothing(_) | Measured::Silent { .. } => {
            return requests_by_status(facts);
        }
    };
    let within = span(window);
    let all = canary + stable;
    let intended = facts.intended();
    if facts.nothing_is_meant() {
        return State::holds(format!(
            "{} to stable in {within}, none for the canary yet",
            whole(stable)
        ));
    }
    if all < 0.5 {
        return Break {
            says: format!("nobody sends requests to service {}", facts.service_name()),
            read: format!("0 to the canary and 0 to stable in {within}"),
            expected: "some: without requests there is nothing to judge".to_owned(),
            next: client_command(facts),
        }
        .into();
    }
    let since = in_effect(facts);
    if canary >= 0.5 {
        return State::holds(match since.filter(|since| *since < window) {
            // The window reaches back into another step.
            Some(since) => format!(
                "{} of {} requests in {within} ({intended} % are meant since {})",
                whole(canary),
                whole(all),
                span(since)
            ),
            None => format!(
                "{:.1} % of {} requests in {within} ({intended} % are meant)",
                100.0 * canary / all,
                whole(all)
            ),
        });
    }
    let expected = all * f64::from(intended) / 100.0;
    if expected < ENOUGH || since.is_some_and(|s| s < SETTLED) {
        let since = since.map(|s| format!(", in effect for {}", span(s))).unwrap_or_default();
        return State::unknown(format!(
            "none of {} requests in {within} reached the canary; with {intended} %{since} that is too early to say",
            whole(all)
        ));
    }
    Break {
        says: "requests arrive, and none reaches the canary".to_owned(),
        read: format!("0 of {} requests in {within}", whole(all)),
        expected: format!("about {} of them, {intended} %", whole(expected)),
        next: {
            let mut next = client_command(facts);
            next.extend(super::mesh::of_system(facts));
            next
        },
    }
    .into()
}

/// For how long the share has been so.
fn in_effect(facts: &Facts) -> Option<TimeDelta> {
    let run = facts.run.as_ref().ok()?.as_ref()?;
    let cursor = run.status.as_ref()?.cursor.as_ref()?;
    Some(facts.now - cursor.effective_at.or(cursor.since)?)
}

fn requests_by_status(facts: &Facts) -> State {
    let status = facts.canary.status.clone().unwrap_or_default();
    let observed = status.traffic.as_ref().and_then(|t| t.observed);
    let counted = status.metrics.iter().find_map(|m| m.requests);
    match (observed, counted) {
        (Some(share), Some(n)) if n >= 0.5 => {
            State::holds(format!("{share:.1} % of the requests, {} in the last check", whole(n)))
        }
        (_, Some(n)) if n >= 0.5 => State::holds(format!("{} in the last check", whole(n))),
        (_, Some(_)) if !facts.nothing_is_meant() => Break {
            says: "the last check counted no request of the canary".to_owned(),
            read: format!("0 requests, with {} % meant for it", facts.intended()),
            expected: "some; whether stable had any is told with --metrics-server URL".to_owned(),
            next: client_command(facts),
        }
        .into(),
        (_, Some(_)) => State::holds("none for the canary yet"),
        (_, None) => ask_yourself(facts, "no check has counted requests yet"),
    }
}

/// What the last check made of it.
pub(super) fn verdict(facts: &Facts) -> State {
    let status = facts.canary.status.clone().unwrap_or_default();
    let Some(waiting) = &status.waiting_for else {
        return State::holds("nothing is waited for");
    };
    let look = format!("kubectl describe canary {} -n {}", facts.name(), facts.namespace());
    let broken = |says: &str, expected: &str| {
        Break {
            says: says.to_owned(),
            read: waiting.message.clone(),
            expected: expected.to_owned(),
            next: vec![look],
        }
        .into()
    };
    match waiting.reason.as_str() {
        "TooEarly" => broken(
            "there are too few requests for a verdict",
            "analysis.minRequests of each in the window: more load, a smaller number or a longer interval",
        ),
        "NoData" if all_have_values(facts) => broken(
            "a check's window is too short to find what a longer one does",
            "analysis.interval of at least two intervals of the scrapes, better four",
        ),
        "NoData" => broken("the last check found no data", "a value for each metric"),
        "MetricsError" => broken("the last check had no usable answer", "a value for each metric"),
        _ => State::holds(waiting.message.clone()),
    }
}

/// Over the longer window that was asked for here.
fn all_have_values(facts: &Facts) -> bool {
    let Measured::Asked(answers) = &facts.measured else { return false };
    answers.all.iter().all(|asked| matches!(asked.answer, Answer::Value(_)))
}

/// `1,204`.
fn whole(n: f64) -> String {
    let digits = format!("{n:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_service_is_known_by_its_name() {
        let of = |url| service_of(url).map(|(s, n, p)| format!("{n}/{s}:{p}"));
        assert_eq!(
            of("http://prometheus.monitoring:9090"),
            Some("monitoring/prometheus:9090".into())
        );
        assert_eq!(of("https://p.m.svc.cluster.local/x"), Some("m/p:443".into()));
        assert_eq!(of("http://127.0.0.1:9090"), None);
        assert_eq!(of("https://prometheus.example.com"), None);
        assert_eq!(of("http://localhost:9090"), None);
    }

    #[test]
    fn a_query_is_one_word_for_a_shell() {
        assert_eq!(quoted("query=a{b=\"it's\"}"), r#"'query=a{b="it'\''s"}'"#);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0.4, 12.0, 1204.4, 1_234_567.0].map(whole), ["0", "12", "1,204", "1,234,567"]);
    }
}
