//! The command line: one type a subcommand, each turned into what it does by its own file under `cmd/`.

use clap::{Args, Parser, Subcommand};

use crate::cmd;
use crate::fail::{EXIT_CODES, Exit};

/// Berth places workloads on a fleet of Kubernetes clusters with accelerators.
///
/// It decides how many replicas of each application run in which cluster, orders the nodes they need, and keeps moving
/// work as stock, health and demand change. Every decision is made by a policy: a WebAssembly component that can be
/// replaced while it runs. Without a command it does what `berth run` does: it runs the bundled example.
#[derive(Debug, Parser)]
#[command(name = "berth", version, verbatim_doc_comment, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// What to do: `berth` alone is `berth run`.
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or_else(|| Self::parse_from(["berth", "run"]).into_command())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(cmd::run::RunArgs),
    Apply(cmd::apply::ApplyArgs),
    Delete(cmd::delete::DeleteArgs),
    Get(cmd::get::GetArgs),
    Explain(cmd::explain::ExplainArgs),
    Top(cmd::top::TopArgs),
    Policy(cmd::policy::PolicyArgs),
    Replay(cmd::replay::ReplayArgs),
    Simulate(cmd::simulate::SimulateArgs),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        match self {
            Command::Run(args) => cmd::run::run(args),
            Command::Apply(args) => cmd::apply::run(&args),
            Command::Delete(args) => cmd::delete::run(&args),
            Command::Get(args) => cmd::get::run(&args),
            Command::Explain(args) => cmd::explain::run(&args),
            Command::Top(args) => cmd::top::run(&args),
            Command::Policy(args) => cmd::policy::run(args),
            Command::Replay(args) => cmd::replay::run(&args),
            Command::Simulate(args) => cmd::simulate::run(&args),
        }
    }
}

/// Where the controller is, for all commands that speak to one.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Address of the running controller's API
    #[arg(long, env = "BERTH_SERVER", default_value = "http://127.0.0.1:7878", value_name = "URL")]
    pub(crate) server: String,
    /// File with the token that the controller asks for; BERTH_TOKEN holds the token itself
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<std::path::PathBuf>,
}

/// Whose policies are loaded, for all commands that load a folder of them, or check one as a controller would.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrustArgs {
    /// Load only policies that this public key signed, beside the built-in ones; may repeat, and then any of the keys will do
    #[arg(long, env = "BERTH_POLICY_KEY", value_name = "FILE", value_delimiter = ',')]
    pub(crate) policy_key: Vec<std::path::PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn every_subcommand_has_examples_and_documents_its_arguments() {
        fn check(command: &clap::Command) {
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:\n  berth "), "{}", command.get_name());
            }
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        Cli::command().debug_assert();
        check(&Cli::command());
    }
}
