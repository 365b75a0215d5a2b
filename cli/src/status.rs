//! `tidegate status`: reads once, or hands over to [`follow`](crate::follow).

use std::io::Write;

use api::{Canary, CanaryRun};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::args::{Output, Program, StatusArgs};
use crate::clock::now;
use crate::cluster::{Cluster, ClusterError};
use crate::exit::Exit;
use crate::follow;
use crate::overview::{self, Columns};
use crate::screen::Screen;
use crate::signals::stop;
use crate::terminal::{Paint, Terminal};

/// What was asked for, once the cluster is known.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) cluster: Cluster,
    pub(crate) all_namespaces: bool,
    pub(crate) output: Option<Output>,
    pub(crate) program: Program,
    pub(crate) terminal: Terminal,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("signals can't be waited for")]
    Signals(#[source] std::io::Error),
    #[error("the output could not be written")]
    Write(#[from] std::io::Error),
    #[error("the object could not be written as YAML")]
    Yaml(#[from] serde_norway::Error),
    #[error("the object could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

pub(crate) async fn run(
    args: StatusArgs,
    program: Program,
    terminal: Terminal,
) -> Result<Exit, StatusError> {
    let StatusArgs { name, watch, all_namespaces, output, cluster } = args;
    let cluster = Cluster::connect(&cluster).await?;
    let wanted = Wanted { cluster, all_namespaces, output, program, terminal };
    match (name, watch) {
        (Some(name), true) => until_stopped(follow::one(&wanted, &name)).await,
        (Some(name), false) => one(&wanted, &name).await,
        (None, true) => until_stopped(follow::all(&wanted)).await,
        (None, false) => all(&wanted).await,
    }
}

/// A drawing that has begun is finished: half of one would leave the terminal in disorder.
async fn until_stopped(
    following: impl Future<Output = Result<Exit, StatusError>>,
) -> Result<Exit, StatusError> {
    let stopped = stop().map_err(StatusError::Signals)?;
    tokio::select! {
        exit = following => exit,
        () = stopped => Ok(Exit::Done),
    }
}

async fn one(wanted: &Wanted, name: &str) -> Result<Exit, StatusError> {
    let canary = wanted.canary(name).await?;
    match wanted.output {
        Some(Output::Json | Output::Yaml | Output::Name) => {
            wanted.print_object(&canary)?;
        }
        None | Some(Output::Wide) => {
            let run = wanted.run_of(&canary).await;
            print_lines(&wanted.screen(&canary, run.as_ref()))?;
        }
    }
    Ok(Exit::Done)
}

async fn all(wanted: &Wanted) -> Result<Exit, StatusError> {
    let list = wanted.cluster.answer(wanted.canaries().list(&ListParams::default())).await?;
    match wanted.output {
        Some(Output::Json | Output::Yaml) => {
            let items = list.items.iter().map(complete).collect::<Result<Vec<_>, _>>()?;
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            print_value(&list, wanted.output)?;
        }
        Some(Output::Name) => {
            for canary in &list.items {
                wanted.print_object(canary)?;
            }
        }
        None | Some(Output::Wide) if list.items.is_empty() => {
            eprintln!("{}", wanted.none());
        }
        None | Some(Output::Wide) => print_lines(&wanted.table(&list.items))?,
    }
    Ok(Exit::Done)
}

impl Wanted {
    pub(crate) fn canaries(&self) -> Api<Canary> {
        let client = self.cluster.client.clone();
        if self.all_namespaces {
            Api::all(client)
        } else {
            Api::namespaced(client, &self.cluster.namespace)
        }
    }

    pub(crate) fn runs(&self) -> Api<CanaryRun> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    async fn canary(&self, name: &str) -> Result<Canary, ClusterError> {
        self.cluster.answer(self.canaries().get_opt(name)).await?.ok_or_else(|| self.missing(name))
    }

    pub(crate) fn missing(&self, name: &str) -> ClusterError {
        let namespace = self.cluster.namespace.clone();
        ClusterError::NoCanary { name: name.to_owned(), namespace }
    }

    /// It may be gone, or not for this person's eyes: the rest is shown without it.
    async fn run_of(&self, canary: &Canary) -> Option<CanaryRun> {
        let run = canary.status.as_ref()?.run.as_ref()?;
        self.cluster.answer(self.runs().get_opt(&run.name)).await.ok().flatten()
    }

    pub(crate) fn screen(&self, canary: &Canary, run: Option<&CanaryRun>) -> Vec<String> {
        let screen = Screen {
            canary,
            run,
            now: now(),
            program: self.program,
            paint: self.paint(),
            width: self.terminal.width(),
            wide: self.output == Some(Output::Wide),
        };
        screen.lines()
    }

    pub(crate) fn table<'a>(&self, canaries: impl IntoIterator<Item = &'a Canary>) -> Vec<String> {
        let wide = self.output == Some(Output::Wide);
        let columns = Columns { namespace: self.all_namespaces, wide };
        // What reads a pipe wants all of it.
        let width = Some(self.terminal.width()).filter(|_| self.terminal.is_terminal && !wide);
        overview::table(canaries, columns, now()).lines(self.paint(), width)
    }

    pub(crate) fn none(&self) -> String {
        if self.all_namespaces {
            return "no canaries in this cluster".to_owned();
        }
        let namespace = &self.cluster.namespace;
        format!("no canaries in namespace {namespace}; see all with: {} status -A", self.program.0)
    }

    fn paint(&self) -> Paint {
        Paint { colours: self.terminal.colours }
    }

    pub(crate) fn print_object(&self, canary: &Canary) -> Result<(), StatusError> {
        match self.output {
            Some(Output::Name) => {
                let name = canary.metadata.name.as_deref().unwrap_or_default();
                print_lines(&[format!("canary.tidegate.dev/{name}")])
            }
            _ => print_value(&complete(canary)?, self.output),
        }
    }
}

/// As `kubectl get` shows it, which hides who wrote what.
fn complete(canary: &Canary) -> Result<Value, serde_json::Error> {
    let mut canary = canary.clone();
    canary.metadata.managed_fields = None;
    serde_json::to_value(&canary)
}

fn print_value(value: &Value, output: Option<Output>) -> Result<(), StatusError> {
    let text = match output {
        Some(Output::Json) => serde_json::to_string_pretty(value)? + "\n",
        _ => format!("---\n{}", serde_norway::to_string(value)?),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

pub(crate) fn print_lines(lines: &[String]) -> Result<(), StatusError> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}
