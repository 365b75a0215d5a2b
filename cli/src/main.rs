//! The `tidegate` binary: the controller, and what people on call type. Also `kubectl tidegate`.

mod act;
mod args;
mod by_hand;
mod clock;
mod cluster;
mod crds;
mod daemon;
mod exit;
mod explain;
mod follow;
mod lint;
mod manifest;
mod neighbours;
mod overview;
mod render;
mod schema;
mod screen;
mod signals;
mod status;
mod terminal;
mod text;

use std::io::Write;
use std::process::ExitCode;

use api::ActionVerb;
use args::{Cli, Command, Program};
use clap::FromArgMatches;
use cluster::ClusterError;
use exit::Exit;
use status::StatusError;
use terminal::Terminal;

#[tokio::main]
async fn main() -> ExitCode {
    let program = Program::called(std::env::args_os().next().as_deref());
    let matches = args::parser(program).get_matches();
    let Cli { command, no_color } = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // An error means that there is a provider already, and that is all that is needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(command, program, Terminal::stdout(no_color.as_deref())).await {
        Ok(exit) => exit.into(),
        // Whoever read it has seen enough.
        Err(error) if is_broken_pipe(&error) => Exit::Failed.into(),
        Err(error) => {
            eprintln!("tidegate: {}", text::chain(error.as_ref()));
            exit_of(&error).into()
        }
    }
}

async fn run(command: Command, program: Program, terminal: Terminal) -> anyhow::Result<Exit> {
    Ok(match command {
        Command::Status(args) => status::run(args, program, terminal).await?,
        Command::Explain(args) => explain::run(args, program, terminal).await?,
        Command::Promote(args) => act::run(ActionVerb::Promote, args, program).await?,
        Command::Abort(args) => act::run(ActionVerb::Abort, args, program).await?,
        Command::Retry(args) => act::run(ActionVerb::Retry, args, program).await?,
        Command::Lint(args) => lint::run(&args)?,
        Command::Render(args) => render::run(&args)?,
        Command::Crds => {
            std::io::stdout().write_all(crds::text()?.as_bytes())?;
            Exit::Done
        }
        Command::Completion(args) => {
            // By the file's name, which is what a shell completes.
            let mut parser = args::parser(Program("tidegate"));
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut parser, "tidegate", &mut script);
            std::io::stdout().write_all(&script)?;
            Exit::Done
        }
        Command::Controller(args) => daemon::run(args).await?,
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut written = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    written.any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let cluster = error.downcast_ref::<ClusterError>().or_else(|| {
        match error.downcast_ref::<StatusError>() {
            Some(StatusError::Cluster(error)) => Some(error),
            _ => None,
        }
    });
    cluster.map_or(Exit::Failed, ClusterError::exit)
}
