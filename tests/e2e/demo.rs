//! `./demo`, one act of it: that it ends well, and that it says so when it does not.
//!
//! It makes a cluster of its own, with `Plane::Prometheus` and `Plane::Traefik`: `tests/cluster/test` compiles what a file names.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// The version with 5 % errors, in a cluster of its own.
fn errors(name: &str, more: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    let test = std::env::current_exe()?;
    let debug = test.ancestors().nth(2).context("the folder of binaries")?;
    let clusters = debug.with_file_name("cluster");
    let Output { status, stdout, stderr } = Command::new(root.join("demo"))
        .args(["--acts", "2"])
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
    let (code, said) = errors("demo", &[])?;
    ensure!(code == Some(0) && said.contains("All as it should be"), "{code:?}: {said}");
    Ok(())
}

#[test]
fn without_analysis_the_demo_fails_and_says_what_broke() -> Result<()> {
    let (code, said) = errors("demo-unjudged", &[("DEMO_SKIP_ANALYSIS", "1")])?;
    let broke = "it was promoted, and should have been rolled back";
    ensure!(code == Some(1) && said.contains(broke), "{code:?}: {said}");
    Ok(())
}
