//! `tidegate explain`: why no traffic reaches the canary, or why there is no data. The first broken link, and what to type next.

mod chain;
mod facts;
mod link;
mod measured;
mod mesh;
mod metrics;
mod object;
mod page;
mod read;
mod route;
mod selector;
mod workload;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::args::{ExplainArgs, ExplainOutput, Program};
use crate::clock::now;
use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::status::{StatusError, print_lines};
use crate::terminal::{Paint, Terminal};
use chain::{answer, chain};
use facts::Facts;
use link::{Link, State};
use measured::Server;
use page::Page;

pub(crate) async fn run(
    args: ExplainArgs,
    program: Program,
    terminal: Terminal,
) -> Result<Exit, StatusError> {
    let ExplainArgs { name, output, metrics_server, metrics_server_credentials, cluster } = args;
    let cluster = Cluster::connect(&cluster).await?;
    let server = metrics_server.map(|url| Server { url, credentials: metrics_server_credentials });
    let shown = server.as_ref().map(|server| measured::without_login(&server.url));
    let facts = Box::pin(read::read(&cluster, &name, server.as_ref(), now())).await?;
    let chain = chain(&facts);
    match output {
        Some(ExplainOutput::Json) => {
            print_lines(&[serde_json::to_string_pretty(&object(&facts, &chain))?])?;
        }
        None => {
            let paint = Paint { colours: terminal.colours };
            let width = terminal.width();
            let metrics_server = shown.as_deref();
            let page = Page { facts: &facts, chain: &chain, program, metrics_server, paint, width };
            print_lines(&page.lines())?;
        }
    }
    Ok(exit(&chain))
}

/// For programs: the answer, then all links in their order.
fn object(facts: &Facts, chain: &[Link]) -> Value {
    let broken = answer(chain).and_then(|(i, _)| chain.get(i));
    json!({
        "namespace": facts.namespace(),
        "canary": facts.name(),
        "broken": broken.map(|link| link.name),
        "links": chain,
    })
}

fn exit(chain: &[Link]) -> Exit {
    let denied = |link: &Link| matches!(&link.state, State::Unknown(blind) if blind.denied);
    if answer(chain).is_some() {
        Exit::Failed
    } else if chain.iter().any(denied) {
        // What may not be seen is not taken for good.
        Exit::Refused
    } else {
        Exit::Done
    }
}
