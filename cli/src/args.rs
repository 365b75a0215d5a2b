//! What may be typed: one struct per command.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use url::Url;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it could not be done, lint found something, or explain a broken link
  2  the command line is wrong
  3  refused: by the controller, by a policy or for want of rights
  4  no controller has answered within 5 seconds";

const EXPLAIN_EXIT_CODES: &str = "\
Exit codes:
  0  nothing is broken
  1  a link is broken, or it could not be done
  2  the command line is wrong
  3  nothing is broken that may be read, and something may not";

/// Brings a new revision of a Deployment to its users in steps, and back if it is worse.
///
/// Installed as kubectl-tidegate, it is `kubectl tidegate` as well.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Don't use colours; nor does an output that is no terminal
    #[arg(
        long,
        env = "NO_COLOR",
        global = true,
        num_args = 0,
        default_missing_value = "1",
        hide_env_values = true,
        value_name = "ANY"
    )]
    pub(crate) no_color: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show where canaries stand and what they wait for
    Status(StatusArgs),
    /// Say why no traffic reaches the canary, or why there is no data, and what to type next
    Explain(ExplainArgs),
    /// Let the step go on that waits for someone to promote
    Promote(ActArgs),
    /// Send the traffic back to stable and remove the canary
    Abort(ActArgs),
    /// Try the revision of the last, failed run again
    Retry(ActArgs),
    /// Find mistakes in manifests, without a cluster
    Lint(LintArgs),
    /// Print what would be written for a step, without a cluster
    Render(RenderArgs),
    /// Print the custom resource definitions, to be applied
    Crds,
    /// Print the completion script of a shell
    Completion(CompletionArgs),
    /// Run the controller
    Controller(ControllerArgs),
}

/// As kubectl has them.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace [default: the context's]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Canary to show in detail; without a name, all of the namespace in a table
    pub(crate) name: Option<String>,
    /// Follow: drawn in place on a terminal, otherwise a line for each change
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Canaries of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace"])]
    pub(crate) all_namespaces: bool,
    /// How to print: the objects themselves, more of what is shown, or their names
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Json,
    Yaml,
    Wide,
    Name,
}

#[derive(Args, Debug)]
#[command(after_help = EXPLAIN_EXIT_CODES)]
pub(crate) struct ExplainArgs {
    /// Canary
    pub(crate) name: String,
    /// Prometheus, as it is reached from here: asked what the controller asks, and which part finds nothing
    #[arg(
        long,
        env = "TIDEGATE_METRICS_SERVER",
        hide_env_values = true,
        value_name = "URL",
        value_parser = http_url
    )]
    pub(crate) metrics_server: Option<Url>,
    /// Folder with its credentials, as the controller takes it
    #[arg(
        long,
        env = "TIDEGATE_METRICS_SERVER_CREDENTIALS",
        value_name = "DIR",
        requires = "metrics_server"
    )]
    pub(crate) metrics_server_credentials: Option<PathBuf>,
    /// How to print: for programs
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<ExplainOutput>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainOutput {
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct ActArgs {
    /// Canary
    pub(crate) name: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = short)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// The schema of an action allows no more.
fn short(reason: &str) -> Result<String, String> {
    match reason.chars().count() {
        0..=256 => Ok(reason.to_owned()),
        n => Err(format!("{n} characters; at most 256")),
    }
}

#[derive(Args, Debug)]
pub(crate) struct LintArgs {
    /// YAML or JSON with one or more objects; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct RenderArgs {
    /// YAML or JSON with a Canary, its Deployment, Service and HTTPRoutes; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Step, from 1; 0 is at rest
    #[arg(long, value_name = "N")]
    pub(crate) step: usize,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// Shell
    pub(crate) shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ControllerArgs {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, env = "TIDEGATE_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Prometheus, or what answers as it does; a path is kept as prefix
    #[arg(long, env = "TIDEGATE_METRICS_SERVER", value_name = "URL", value_parser = http_url)]
    pub(crate) metrics_server: Url,
    /// Folder with its credentials, as a mounted Secret has them: token, username and password,
    /// ca.crt, tls.crt and tls.key, header.<Name>
    #[arg(long, env = "TIDEGATE_METRICS_SERVER_CREDENTIALS", value_name = "DIR")]
    pub(crate) metrics_server_credentials: Option<PathBuf>,
    /// Look after the canaries of this namespace only [default: all]
    #[arg(short, long, env = "TIDEGATE_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(
        long,
        env = "TIDEGATE_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) listen: SocketAddr,
    /// How the log is written
    #[arg(long, env = "TIDEGATE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// error, warn, info, debug or trace; for one crate alone: info,kube=debug
    #[arg(long, env = "TIDEGATE_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One object per line
    Json,
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{e}; such as http://prometheus:9090"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other:?} is not http or https; such as http://prometheus:9090")),
    }
}

/// How this program was called, and is to be called again in what it tells people to type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program(pub(crate) &'static str);

impl Program {
    /// By the file's name, as kubectl finds its plugins.
    pub(crate) fn called(argv0: Option<&OsStr>) -> Self {
        let file = argv0.and_then(|path| Path::new(path).file_stem());
        let plugin = file.and_then(OsStr::to_str) == Some("kubectl-tidegate");
        Self(if plugin { "kubectl tidegate" } else { "tidegate" })
    }
}

/// The parser, under the name that the program was called by.
pub(crate) fn parser(program: Program) -> clap::Command {
    Cli::command().bin_name(program.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_is_documented() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }

    #[test]
    fn the_controllers_settings_have_defaults_but_for_the_metrics_server() {
        let Command::Controller(args) =
            parse("tidegate controller --metrics-server http://p:9090/x").unwrap().command
        else {
            panic!("another command")
        };
        assert_eq!(args.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((args.log_format, args.log_level.as_str()), (LogFormat::Text, "info"));
        assert!(parse("tidegate controller").is_err());
        let error = parse("tidegate controller --metrics-server p:9090").unwrap_err().to_string();
        assert!(error.contains("\"p\" is not http or https"), "{error}");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "tidegate status -A shop",
            "tidegate status -A -n shop",
            "tidegate status -o table",
            "tidegate abort",
            "tidegate explain",
            "tidegate explain shop -o yaml",
            "tidegate lint",
            "tidegate render x.yaml",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert!(parse("tidegate status shop -n x -w -o wide --no-color").is_ok());
    }

    #[test]
    fn the_name_of_the_file_says_how_it_was_called() {
        let called = |name: &str| Program::called(Some(OsStr::new(name))).0;
        assert_eq!(called("/usr/local/bin/kubectl-tidegate"), "kubectl tidegate");
        assert_eq!(called("./tidegate"), "tidegate");
        assert_eq!(Program::called(None).0, "tidegate");
    }
}
