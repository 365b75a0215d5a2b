//! `./demo`, a few acts of it: that it ends well, and that it says so when it does not.
//!
//! It makes a cluster of its own, with `Plane::Prometheus` and `Plane::Traefik`: `tests/cluster/test` compiles what a file names.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// These acts, in a cluster of its own.
fn demo(name: &str, acts: &str, more: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    let test = std::env::current_exe()?;
    let debug = test.ancestors().nth(2).context("the folder of binaries")?;
    let clusters = debug.with_file_name("cluster");
    let Output { status, stdout, stderr } = Command::new(root.join("demo"))
        .args(["--acts", acts])
        .env_remove("BENCH_NAMESPACE")
        .env("TIDEGATE_BINARY", debug.join("tidegate"))
        .env("DEMO_DIR", clusters.join(name))
        .envs(more.iter().copied())
        .output()?;
    let said = [stdout, stderr].concat();
    Ok((status.code(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn the_demo_ends_well_when_all_is_as_it_should_be() -> Result<()> {
    // One with 5 % errors, and blue/green with testers.
    let (code, said) = demo("demo", "2,7", &[])?;
    ensure!(code == Some(0) && said.contains("All as it should be"), "{code:?}: {said}");
    ensure!(said.contains("writes of the route: the switch 1"), "{said}");
    Ok(())
}

#[test]
fn without_analysis_the_demo_fails_and_says_what_broke() -> Result<()> {
    let (code, said) = demo("demo-unjudged", "2", &[("DEMO_SKIP_ANALYSIS", "1")])?;
    let broke = "it was promoted, and should have been rolled back";
    ensure!(code == Some(1) && said.contains(broke), "{code:?}: {said}");
    Ok(())
}
