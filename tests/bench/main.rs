//! What Tidegate costs and how fast it acts, on a real control plane: counts and ratios, for `docs/benchmarks.md`.
//!
//! `tests/cluster/bench NAME` runs one of them; it prints a table and fails if a stated limit is missed.

mod abort;
mod fleet;
mod idle;
mod journal;
mod outage;
mod reaction;
mod release;
mod report;
mod requests;

use std::process::ExitCode;

use anyhow::{Result, bail};
use report::{Report, load_average};

#[tokio::main]
async fn main() -> ExitCode {
    // Cargo adds arguments of its own, with dashes.
    let name = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    match run(name.as_deref().unwrap_or_default()).await {
        Ok(report) => {
            print!("{report}");
            if report.is_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(name: &str) -> Result<Report> {
    let before = load_average()?;
    let report = match name {
        "idle" => idle::run().await,
        "abort" => abort::run().await,
        "reaction" => reaction::run().await,
        "release" => release::run().await,
        "outage" => outage::run().await,
        "requests" => requests::run().await,
        _ => bail!("{name:?}: there are idle, abort, reaction, release, outage and requests"),
    }?;
    Ok(report.note(format!("Load average {before} → {}.", load_average()?)))
}
