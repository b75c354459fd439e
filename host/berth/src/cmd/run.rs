//! `berth run`: its arguments, turned once into what [`crate::run`] needs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::TrustArgs;
use crate::fail::Exit;
use crate::run::{self, Config, Fleet, policies};
use crate::server::limits::Limits;
use crate::server::{self, hosts};
use crate::token::{self, Role, Tokens};

/// Start a controller, with simulated member clusters
///
/// With no arguments it runs the bundled example: three regions with GPU pools that start empty, a model server with its
/// distribution and override policies, and real series of prices, stock and requests. Each decision is printed as it is
/// made. What it decides is kept in the data directory; the next run goes on from there.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth run
  berth run --until-settled --speed 0
  berth run --fleet fleet.yaml --data-dir /var/lib/berth --speed 60
  berth run --listen 0.0.0.0:7878 --token-file token --allow-host berth.example.com
  berth run --fleet fleet.yaml --policies policies --policy-key policy.pub

Exit codes: 0 stopped, or settled with --until-settled; 1 failed; 2 settled, but something cannot be done, with reasons;
130 interrupted before it was settled."
)]
pub(crate) struct RunArgs {
    /// Fleet file: clusters, node pools, offerings, and what to simulate [default: the bundled example]
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// Where the store is kept [default: berth-data/NAME, by the name of the fleet file]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder with the policies, watched for changes [default: policies if it is there, otherwise the built-in ones]
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Address of the HTTP API; any but loopback needs a token
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Simulated seconds in a second; 0 runs as fast as it can
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = speed)]
    speed: f64,
    /// Stop when nothing is left to do
    #[arg(long)]
    until_settled: bool,
    /// Stop after this much simulated time, such as 90m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    length: Option<Duration>,
    /// Seed of everything in the simulation that is left to chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// File with the tokens that clients must show, one a line; BERTH_TOKEN holds one token itself
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with tokens that may read, but not change anything, nor read Secrets; BERTH_READ_TOKEN holds one itself
    #[arg(long, value_name = "FILE")]
    read_token_file: Option<PathBuf>,
    /// Name by which clients reach the API, beside those of this machine and its addresses
    #[arg(long, env = "BERTH_ALLOW_HOST", value_name = "NAME", value_delimiter = ',', value_parser = hosts::name)]
    allow_host: Vec<String>,
    /// How much of the calls of policies to keep for `berth replay`, such as 256MiB; 0 keeps none
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    records_size: u64,
    /// How long to keep them, by the controller's clock, such as 12h
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    records_age: Duration,
    /// Forget what the data directory holds and start over
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    limits: Limits,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed == 0.0 || (0.001..=1e9).contains(&speed) => Ok(speed),
        _ => Err("use 0, or a number from 0.001 on, such as 60".to_owned()),
    }
}

/// Bytes, with one of the usual units of 1024.
fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("", 0)];
    let parsed = units.into_iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(1 << shift)
    });
    let fits = |bytes: &u64| *bytes == 0 || *bytes >= 1 << 20;
    parsed.filter(fits).ok_or_else(|| "use 0, or at least 1MiB, such as 256MiB or 1GiB".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = berth_api::duration::Duration::parse(text).map_err(|error| error.to_string())?;
    Ok(Duration::from_millis(parsed.millis()))
}

pub(crate) fn run(args: RunArgs) -> anyhow::Result<Exit> {
    run::run(args.validate()?)
}

impl RunArgs {
    fn validate(self) -> anyhow::Result<Config> {
        let tokens = self.tokens()?;
        server::not_open_to_others(self.listen, &tokens)?;
        let (fleet, name) = match self.fleet {
            None => (Fleet::Example, "example".into()),
            Some(file) => {
                let name = file.file_stem().unwrap_or_default().to_owned();
                (Fleet::File(file), name)
            }
        };
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from("berth-data").join(name));
        Ok(Config {
            fleet,
            data_dir,
            policies: self.policies,
            trust: policies::trust(&self.trust.policy_key)?,
            api: server::Settings { listen: self.listen, tokens, hosts: self.allow_host, limits: self.limits },
            speed: self.speed,
            until_settled: self.until_settled,
            length_ms: self.length.map(|length| length.as_millis() as u64),
            seed: self.seed,
            records_size: self.records_size,
            records_age: self.records_age,
            fresh: self.fresh,
        })
    }

    fn tokens(&self) -> anyhow::Result<Tokens> {
        let mut tokens = Tokens::default();
        let sources =
            [(&self.token_file, "BERTH_TOKEN", Role::Write), (&self.read_token_file, "BERTH_READ_TOKEN", Role::Read)];
        for (file, variable, role) in sources {
            let read = match file {
                Some(file) => token::read_file(file)?,
                None => Vec::from_iter(token::from_env(variable)?),
            };
            read.iter().for_each(|token| tokens.add(token, role));
        }
        Ok(tokens)
    }
}
