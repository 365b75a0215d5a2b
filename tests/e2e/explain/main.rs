//! `tidegate explain` names the first broken link: faults are seeded into a real cluster, one per namespace.

mod scraper;
mod seeds;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use seeds::{FAULTS, Fault, LAST, Scene};
use serde_json::Value;
use tests::{Cluster, ENOUGH, Plane, scenario, wait_for};

const PLANES: &[Plane] = &[Plane::Prometheus, Plane::Traefik, Plane::EnvoyGateway];
/// Each has a controller, and most have load: two cores.
const AT_ONCE: usize = 3;

/// What became of a fault.
#[derive(Debug)]
struct Named {
    fault: &'static Fault,
    /// The first broken link, and its sentence.
    got: Result<(String, String)>,
    /// The first command that was proposed, and how it ended.
    command: Option<(String, Result<()>)>,
}

impl Named {
    fn right(&self) -> bool {
        let Ok((link, says)) = &self.got else { return false };
        *link == self.fault.link
            && says.contains(self.fault.says)
            && self.command.as_ref().is_none_or(|(_, ran)| ran.is_ok())
    }
}

#[test]
fn the_first_broken_link_is_named_for_every_seeded_fault() -> Result<()> {
    scenario(PLANES, async |cluster| {
        cluster.installed().await?;
        let scrapers = seeds::scrapers(cluster).await?;
        let scrapers = &scrapers;
        let mut named: Vec<Named> = futures::stream::iter(FAULTS)
            .map(|fault| name(cluster, fault, scrapers))
            .buffered(AT_ONCE)
            .collect()
            .await;
        // It takes a policy of the whole cluster away.
        named.push(name(cluster, &LAST, scrapers).await);
        table(&named);
        let wrong: Vec<_> = named.iter().filter(|n| !n.right()).collect();
        ensure!(wrong.is_empty(), "{} of {} are wrong: {wrong:#?}", wrong.len(), named.len());
        Ok(())
    })
}

async fn name(
    cluster: &'static Cluster,
    fault: &'static Fault,
    scrapers: &seeds::Scrapers,
) -> Named {
    let seeded = seeds::seed(cluster, fault, scrapers).await;
    let scene = match seeded.with_context(|| format!("seeding {}", fault.name)) {
        Ok(scene) => scene,
        Err(error) => return Named { fault, got: Err(error), command: None },
    };
    let mut last = Err(anyhow::anyhow!("never asked"));
    // Faults take a moment to show: a route's status, a scrape.
    let answer = wait_for(fault.name, fault.within, async || {
        let answer = explain(cluster, &scene).await?;
        let is = (text(&answer, "/broken"), sentence(&answer));
        let right = is.0 == fault.link && is.1.contains(fault.says);
        last = Ok(is);
        Ok(right.then_some(answer))
    })
    .await;
    // Once may be chance.
    let answer = match answer {
        Ok(_) => explain(cluster, &scene).await,
        Err(error) => Err(error),
    };
    if let Ok(answer) = &answer {
        last = Ok((text(answer, "/broken"), sentence(answer)));
    }
    let command = match &answer {
        Ok(answer) => first_command(cluster, answer).await,
        Err(_) => None,
    };
    let _ = print(cluster, &scene).await;
    let ended = scene.end().await;
    let got = match (answer, ended) {
        (Ok(answer), Ok(())) => Ok((text(&answer, "/broken"), sentence(&answer))),
        (_, Err(error)) => Err(error),
        (Err(error), Ok(())) => last.map_err(|_| error),
    };
    Named { fault, got, command }
}

fn text(answer: &Value, pointer: &str) -> String {
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned()
}

fn broken(answer: &Value) -> Option<&Value> {
    answer["links"].as_array()?.iter().find(|link| link["link"] == answer["broken"])
}

/// What the answer says of it, and what it has read.
fn sentence(answer: &Value) -> String {
    let Some(link) = broken(answer) else { return String::new() };
    format!("{}; {}", text(link, "/says"), text(link, "/read"))
}

async fn explain(cluster: &Cluster, scene: &Scene) -> Result<Value> {
    let args = scene.args(&["-o", "json"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = cluster.tidegate(cluster.admin(), &args).await?;
    let told = String::from_utf8_lossy(&output.stderr);
    let answer: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{args:?} said {told}"))?;
    let wanted = i32::from(!answer["broken"].is_null());
    let code = output.status.code();
    ensure!(code == Some(wanted) || code == Some(3), "exit code {code:?}: {answer}");
    Ok(answer)
}

/// The page as a person sees it, into the cluster's folder.
async fn print(cluster: &Cluster, scene: &Scene) -> Result<()> {
    let args = scene.args(&[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = cluster.tidegate(cluster.admin(), &args).await?;
    let file = cluster.dir().join(format!("explain-{}.txt", scene.shop.app.namespace()));
    std::fs::write(file, [output.stdout, output.stderr].concat())?;
    Ok(())
}

/// Runs the first proposed command, if it is kubectl's: it has to work here and now.
async fn first_command(cluster: &Cluster, answer: &Value) -> Option<(String, Result<()>)> {
    let command = broken(answer)?["next"].as_array()?.first()?.as_str()?.to_owned();
    let ran = if command.starts_with("kubectl ") { shell(cluster, &command).await } else { Ok(()) };
    Some((command, ran))
}

/// As it would be pasted.
async fn shell(cluster: &Cluster, command: &str) -> Result<()> {
    let path = format!("{}/bin:/usr/bin:/bin", cluster.dir().display());
    let output = tokio::process::Command::new("bash")
        .args(["-c", command])
        .env("PATH", path)
        .env("KUBECONFIG", &cluster.admin().kubeconfig)
        .stdin(Stdio::null())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    ensure!(!output.stdout.is_empty() || said.contains("No resources"), "it shows nothing: {said}");
    Ok(())
}

fn table(named: &[Named]) {
    let right = named.iter().filter(|n| n.right()).count();
    println!("\n{right} of {} seeded faults named right\n", named.len());
    for one in named {
        let mark = if one.right() { "right" } else { "WRONG" };
        let got = one
            .got
            .as_ref()
            .map_or_else(|e| format!("{e:#}"), |(link, says)| format!("{link}: {says}"));
        let got: String = got.chars().take(110).collect();
        println!("{mark}  {:<38} {got}", one.fault.name);
        if let Some((command, ran)) = &one.command {
            let ran = ran.as_ref().map_or_else(|e| format!("{e:#}"), |()| "exit code 0".to_owned());
            println!("       {:<38} {command}  [{ran}]", "");
        }
    }
}

#[test]
fn a_canary_that_gets_its_share_has_nothing_broken() -> Result<()> {
    scenario(PLANES, async |cluster| {
        cluster.installed().await?;
        let scene = seeds::half_way(cluster, Plane::Traefik, "explain-fine", true).await?;
        let fine = wait_for("nothing to be broken", ENOUGH, async || {
            let answer = explain(cluster, &scene).await?;
            ensure!(answer["broken"].is_null(), "{answer:#}");
            let unknown = answer["links"].as_array().context("links")?.iter();
            let unknown: Vec<_> = unknown.filter(|l| l["state"] != "holds").collect();
            ensure!(unknown.is_empty(), "{unknown:#?}");
            Ok(Some(answer))
        })
        .await?;
        let requests = fine["links"].as_array().context("links")?.iter();
        let requests = requests.filter(|l| l["link"] == "requests").map(|l| text(l, "/says"));
        let requests: Vec<_> = requests.collect();
        ensure!(requests.iter().any(|r| r.contains("50 % are meant")), "{requests:?}");
        print(cluster, &scene).await?;
        scene.end().await
    })
}

#[test]
fn what_may_not_be_read_is_said_and_not_taken_for_good() -> Result<()> {
    scenario(PLANES, async |cluster| {
        cluster.installed().await?;
        let scene = seeds::half_way(cluster, Plane::Traefik, "explain-blind", false).await?;
        let reader = cluster.user("reader").await?;
        let args = ["explain", "shop", "-n", "explain-blind"];
        let refused = cluster.tidegate(&reader, &args).await?;
        ensure!(refused.status.code() == Some(3), "without any right: {refused:?}");
        let granted = [
            "create",
            "rolebinding",
            "reads-canaries",
            "-n",
            "explain-blind",
            "--clusterrole",
            "tidegate-view",
            "--user",
            &reader.name,
        ];
        cluster.kubectl(&granted).await?;
        let told = wait_for("rights to the canary", Duration::from_secs(10), async || {
            let output = cluster.tidegate(&reader, &args).await?;
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(!told.is_empty(), "{output:?}");
            ensure!(output.status.code() == Some(3), "{output:?}");
            Ok(Some(told))
        })
        .await?;
        for said in [
            "✓ controller",
            "? deployment  unknown: no right to get deployments.apps",
            "kubectl auth can-i get deployments.apps -n explain-blind",
            "Nothing that could be read is broken",
        ] {
            ensure!(told.contains(said), "no {said:?} in:\n{told}");
        }
        scene.end().await
    })
}
