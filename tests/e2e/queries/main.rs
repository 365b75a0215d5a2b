//! The built-in queries against a real Prometheus that has the series of each traffic system, as that system writes them, with known
//! numbers in them: what is counted, what isn't, and what is said where there is nothing to say.

mod server;
mod upstream;

use std::collections::BTreeMap;

use analysis::{
    Arm, ArmContext, Builtin, Checks, Limit, Metric, MetricKind, PodAddress, Profile, Protocol,
    Query, Reading, Reporter, Window, queries,
};
use anyhow::{Result, ensure};
use server::{Server, with_prometheus};
use upstream::{Life, SCRAPE, SCRAPES, Traffic, Upstream};

/// Scrapes in the window of a check, which is a minute.
const IN_WINDOW: i32 = 12;

/// In the middle of the window: six scrapes see what begins here.
const MIDDLE: usize = SCRAPES - 6;

/// Every profile with its file in `analysis/upstream`.
const SYSTEMS: &[(&str, Profile, Protocol)] = &[
    ("traefik", Profile::Traefik, Protocol::Http),
    ("traefik-shared", Profile::Traefik, Protocol::Http),
    ("traefik-grpc", Profile::Traefik, Protocol::Grpc),
    ("traefik-service", Profile::TraefikService, Protocol::Http),
    ("traefik-service-safe", Profile::TraefikService, Protocol::Http),
    ("envoy-gateway", Profile::EnvoyGateway, Protocol::Http),
    ("envoy-gateway-grpc", Profile::EnvoyGateway, Protocol::Grpc),
    ("contour", Profile::Contour, Protocol::Http),
    ("kgateway", Profile::Kgateway, Protocol::Http),
    ("istio-sidecar", Profile::Istio(Reporter::Source), Protocol::Http),
    ("istio-sidecar-grpc", Profile::Istio(Reporter::Source), Protocol::Grpc),
    ("istio-waypoint", Profile::Istio(Reporter::Waypoint), Protocol::Http),
    ("istio-proxy", Profile::IstioProxy, Protocol::Http),
    ("linkerd", Profile::Linkerd, Protocol::Http),
    ("linkerd-grpc", Profile::Linkerd, Protocol::Grpc),
    ("cilium", Profile::Cilium, Protocol::Http),
    ("pods", Profile::Pods, Protocol::Http),
];

/// What happens to a canary, by the name of its Service. Stable serves well all the while.
const CANARIES: &[(&str, Traffic)] = &[
    ("checkout", Traffic { ok: Life::Steady, failed: Life::Steady }),
    ("perfect", Traffic { ok: Life::Steady, failed: Life::Never }),
    ("broken", Traffic { ok: Life::Never, failed: Life::Steady }),
    ("silent", Traffic { ok: Life::Stopped, failed: Life::Stopped }),
    ("unknown", Traffic { ok: Life::Never, failed: Life::Never }),
    ("failing", Traffic { ok: Life::Steady, failed: Life::From(MIDDLE) }),
    ("fresh", Traffic { ok: Life::From(MIDDLE), failed: Life::From(MIDDLE) }),
    ("restarted", Traffic { ok: Life::Restarted(MIDDLE), failed: Life::Restarted(MIDDLE) }),
];

/// Requests of each series between two scrapes.
const CANARY: Rates = Rates { ok: 18, failed: 2 };
const STABLE: Rates = Rates { ok: 190, failed: 1 };

#[derive(Clone, Copy)]
struct Rates {
    ok: u32,
    failed: u32,
}

/// Quantiles that are asked for. What `upstream` lets requests take is in three buckets, and these are one in each.
const QUANTILES: [(&str, f64, f64); 3] = [
    ("p50", 0.5, upstream::QUICK),
    ("p95", 0.95, upstream::SLOWER),
    ("p99", 0.99, upstream::SLOWEST),
];

/// What a query said about an arm.
struct Answers<'a> {
    system: &'a str,
    upstream: &'a Upstream,
    arm: Arm,
    values: BTreeMap<String, (Query, Reading)>,
}

impl Answers<'_> {
    fn rates(&self) -> Rates {
        if self.arm == Arm::Canary { CANARY } else { STABLE }
    }

    /// Requests of all series of a kind in the window, if they were there all the while.
    fn ok(&self) -> f64 {
        f64::from(IN_WINDOW) * f64::from(self.rates().ok * self.upstream.ok)
    }

    fn failed(&self) -> f64 {
        f64::from(IN_WINDOW) * f64::from(self.rates().failed * self.upstream.failed)
    }

    fn value(&self, subject: &str) -> Result<f64> {
        let (query, reading) = &self.values[subject];
        match reading {
            Reading::Value(value) if !value.is_nan() => Ok(*value),
            other => anyhow::bail!("{} {subject}: {other:?} from {}", self.system, query.promql),
        }
    }

    fn says(&self, subject: &str, expected: f64) -> Result<()> {
        self.says_within(
            subject,
            expected - 1e-6 * expected.abs(),
            expected + 1e-6 * expected.abs(),
        )
    }

    fn says_within(&self, subject: &str, least: f64, most: f64) -> Result<()> {
        let value = self.value(subject)?;
        ensure!(
            (least..=most).contains(&value),
            "{} {} {subject}: {value}, expected {least} to {most}, from {}",
            self.system,
            self.arm,
            self.values[subject].0.promql
        );
        Ok(())
    }

    fn says_nothing(&self, subject: &str) -> Result<()> {
        match self.value(subject) {
            Ok(value) => anyhow::bail!("{} {subject}: {value}, expected none", self.system),
            Err(_) if matches!(self.values[subject].1, Reading::Empty | Reading::Value(_)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// No more can be known of a quantile than its bucket.
    fn quantiles_are_in_their_buckets(&self) -> Result<()> {
        QUANTILES.iter().try_for_each(|(name, _, truth)| {
            let (least, most) = self.upstream.bucket_ms(*truth);
            self.says_within(name, least, most)
        })
    }
}

#[test]
fn an_arms_requests_are_counted_and_nothing_else() -> Result<()> {
    each("checkout", |answers| {
        let (ok, failed) = (answers.ok(), answers.failed());
        answers.says("requests", ok + failed)?;
        answers.says("success", 100.0 * ok / (ok + failed))?;
        answers.quantiles_are_in_their_buckets()
    })
}

#[test]
fn without_any_failure_everything_succeeds() -> Result<()> {
    each_canary("perfect", |answers| {
        answers.says("requests", answers.ok())?;
        answers.says("success", 100.0)
    })
}

#[test]
fn where_nothing_succeeds_the_rate_is_zero_and_not_missing() -> Result<()> {
    each_canary("broken", |answers| {
        answers.says("requests", answers.failed())?;
        answers.says("success", 0.0)
    })
}

#[test]
fn without_requests_nothing_is_said_about_them() -> Result<()> {
    for canary in ["silent", "unknown"] {
        each_canary(canary, |answers| {
            if answers.value("requests").is_ok() {
                answers.says("requests", 0.0)?;
            }
            ["success", "p50", "p95", "p99"].iter().try_for_each(|s| answers.says_nothing(s))
        })?;
    }
    Ok(())
}

/// What a new series has at its first scrape is not seen: Prometheus counts from there on. Where the series is there before, what it
/// counts is extrapolated from 55 s to 60.
#[test]
fn failures_that_begin_in_the_window_are_missed_for_one_scrape_at_most() -> Result<()> {
    each_canary("failing", |answers| {
        let (ok, of_each_scrape) = (answers.ok(), answers.failed() / f64::from(IN_WINDOW));
        let rate = |failed: f64| 100.0 * ok / (ok + failed);
        answers.says_within("success", rate(6.6 * of_each_scrape), rate(5.0 * of_each_scrape))
    })
}

#[test]
fn a_canary_whose_first_requests_are_in_the_window_has_their_true_rate() -> Result<()> {
    each_canary("fresh", |answers| {
        let (ok, failed) = (answers.ok(), answers.failed());
        let of_each_scrape = (ok + failed) / f64::from(IN_WINDOW);
        answers.says_within("requests", 5.0 * of_each_scrape, 6.6 * of_each_scrape)?;
        answers.says("success", 100.0 * ok / (ok + failed))?;
        answers.quantiles_are_in_their_buckets()
    })
}

#[test]
fn a_restart_that_sets_the_counters_back_loses_nothing() -> Result<()> {
    each_canary("restarted", |answers| {
        let (ok, failed) = (answers.ok(), answers.failed());
        answers.says("requests", ok + failed)?;
        answers.says("success", 100.0 * ok / (ok + failed))?;
        answers.quantiles_are_in_their_buckets()
    })
}

fn each_canary(service: &str, check: impl Fn(&Answers) -> Result<()>) -> Result<()> {
    each(service, |answers| if answers.arm == Arm::Canary { check(answers) } else { Ok(()) })
}

/// Asks about both arms of `service` in every system. All that is wrong is said at once.
fn each(service: &str, check: impl Fn(&Answers) -> Result<()>) -> Result<()> {
    with_prometheus(exposition, async |server| {
        let mut wrong = Vec::new();
        for (system, profile, protocol) in SYSTEMS {
            let upstream = Upstream::read(system)?;
            for answers in ask(server, system, &upstream, *profile, *protocol, service).await? {
                wrong.extend(check(&answers).err().map(|error| format!("{error:#}")));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        Ok(())
    })
}

async fn ask<'a>(
    server: &Server,
    system: &'a str,
    upstream: &'a Upstream,
    profile: Profile,
    protocol: Protocol,
    service: &str,
) -> Result<[Answers<'a>; 2]> {
    let window = Window { start: server.end - SCRAPE * IN_WINDOW, end: server.end };
    let canary = ArmContext { protocol, ..arm(system, service, Arm::Canary) };
    let stable = ArmContext { protocol, ..arm(system, service, Arm::Stable) };
    let asked = queries(profile, &checks(), &canary, Some(&stable), window)?;
    let readings = providers::metrics::read(&server.source, asked, window.end).await;
    Ok([Arm::Canary, Arm::Stable].map(|arm| {
        let values = readings.iter().filter(|(query, _)| query.arm == arm);
        let named = |(query, reading): &(Query, Reading)| {
            (query.subject.to_string(), (query.clone(), reading.clone()))
        };
        Answers { system, upstream, arm, values: values.map(named).collect() }
    }))
}

fn checks() -> Checks {
    let builtin = |name: &str, builtin| Metric {
        name: name.to_owned(),
        kind: MetricKind::Builtin(builtin),
        limit: Limit::default(),
    };
    let mut metrics = vec![builtin("success", Builtin::RequestSuccessRate)];
    metrics.extend(
        QUANTILES.map(|(name, quantile, _)| builtin(name, Builtin::RequestDuration { quantile })),
    );
    Checks { metrics, min_requests: 1 }
}

/// Each system has a namespace of its own. Services and Deployments are called differently, so that no query can take one for the other.
fn arm(system: &str, service: &str, arm: Arm) -> ArmContext {
    let (suffix, host) = match arm {
        Arm::Canary => ("-canary", 7),
        Arm::Stable => ("", 4),
    };
    let workload = format!("{service}-app{suffix}");
    // Where all are in one cluster of Envoy's, only the address tells them apart.
    let story = CANARIES.iter().position(|(name, _)| *name == service).unwrap_or_default();
    ArmContext {
        namespace: format!("shop-{system}"),
        pods: vec![PodAddress {
            name: format!("{workload}-5c9d-x2x4z"),
            ip: format!("10.0.{story}.{host}"),
        }],
        workload,
        service: format!("{service}{suffix}"),
        apex: service.to_owned(),
        port: "80".to_owned(),
        protocol: Protocol::Http,
        routes: vec!["web".to_owned()],
    }
}

/// All series of a system, with their numbers until `end` (milliseconds).
fn exposition(system: &str, end: i64) -> Result<String> {
    let upstream = Upstream::read(system)?;
    let mut text = String::new();
    for (service, traffic) in CANARIES {
        for which in [Arm::Canary, Arm::Stable] {
            let names = arm(system, service, which);
            let (traffic, rates) = match which {
                Arm::Canary => (*traffic, CANARY),
                Arm::Stable => (Traffic { ok: Life::Steady, failed: Life::Steady }, STABLE),
            };
            upstream.write(&mut text, &names, traffic, (rates.ok, rates.failed), end);
            if *service == "checkout" {
                for other in neighbours(&names) {
                    let failing = Traffic { ok: Life::Steady, failed: Life::Steady };
                    upstream.write(&mut text, &other, failing, (7, 5000), end);
                }
            }
        }
    }
    Ok(text)
}

/// What must not be taken for an arm: the same in another namespace, and what is only called alike.
fn neighbours(arm: &ArmContext) -> [ArmContext; 2] {
    let elsewhere = ArmContext { namespace: format!("{}-eu", arm.namespace), ..arm.clone() };
    let pod = |pod: &PodAddress| PodAddress {
        name: pod.name.replace("-app", "-app-2"),
        ip: pod.ip.replace("10.0.", "10.1."),
    };
    let alike = ArmContext {
        workload: format!("{}-2", arm.workload),
        service: format!("{}-2", arm.service),
        apex: format!("{}-2", arm.apex),
        pods: arm.pods.iter().map(pod).collect(),
        ..arm.clone()
    };
    [elsewhere, alike]
}
