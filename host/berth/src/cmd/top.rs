//! `berth top`.

use berth_control::view::{ClusterRow, PoolRow, ResourceUse, StockRow};
use berth_core::ids::Millis;
use berth_core::resources::{CPU, GPU, MEMORY};

use crate::cli::ServerArgs;
use crate::client::Client;
use crate::fail::Exit;
use crate::output::text::{dash, number, span};
use crate::output::{self, Format, Table};
use crate::wire::Top;

/// Show what the fleet has, what is used, and what could be had
///
/// Clusters and pools show their nodes, those that are ordered, and how much is in use; stock shows each offering with its
/// price, how much is known to be had, and how long ago that was reported.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth top
  berth top stock
  berth top pools -o json"
)]
pub(crate) struct TopArgs {
    /// What to show; everything if absent
    #[arg(value_enum)]
    what: Option<What>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Clusters,
    Pools,
    Stock,
}

pub(crate) fn run(args: &TopArgs) -> anyhow::Result<Exit> {
    let top: Top = Client::new(&args.server)?.list("/api/v1/top", &[])?;
    match args.what {
        None => output::print(args.output, &top, |top| {
            format!("{}\n{}\n{}", clusters(&top.clusters, top.now), pools(&top.pools), stock(&top.stock, top.now))
        })?,
        Some(What::Clusters) => output::print(args.output, &top.clusters, |rows| clusters(rows, top.now))?,
        Some(What::Pools) => output::print(args.output, &top.pools, |rows| pools(rows))?,
        Some(What::Stock) => output::print(args.output, &top.stock, |rows| stock(rows, top.now))?,
    }
    Ok(Exit::Done)
}

fn clusters(rows: &[ClusterRow], now: Millis) -> String {
    let mut table = Table::new(&[
        "CLUSTER", "PROVIDER", "REGION", "STATE", "NODES", "ORDERED", "GPU", "CPU", "MEMORY", "REPLICAS", "USD/H",
    ]);
    for row in rows {
        let state = if row.reachable { "ready".to_owned() } else { format!("lost {}", span(now.since(row.since))) };
        table.row([
            row.name.to_string(),
            dash(&row.provider),
            dash(&row.region),
            state,
            row.nodes.to_string(),
            row.ordered.to_string(),
            in_use(&row.resources, GPU),
            in_use(&row.resources, CPU),
            in_use(&row.resources, MEMORY),
            row.replicas.to_string(),
            number(row.usd_per_hour),
        ]);
    }
    table.render()
}

fn pools(rows: &[PoolRow]) -> String {
    let mut table = Table::new(&["CLUSTER", "POOL", "NODES", "ORDERED", "MIN", "MAX", "GPU", "CPU", "MEMORY", "USD/H"]);
    for row in rows {
        table.row([
            row.cluster.to_string(),
            row.name.to_string(),
            row.nodes.to_string(),
            row.ordered.to_string(),
            row.min.to_string(),
            row.max.to_string(),
            in_use(&row.resources, GPU),
            in_use(&row.resources, CPU),
            in_use(&row.resources, MEMORY),
            number(row.usd_per_hour),
        ]);
    }
    table.render()
}

/// Nodes from which on their number says nothing.
const PLENTY: u32 = 1_000_000;

fn stock(rows: &[StockRow], now: Millis) -> String {
    let mut table = Table::new(&[
        "TYPE",
        "CAPACITY",
        "REGION",
        "ZONE",
        "USD/H",
        "STOCK",
        "AT LEAST",
        "CONFIDENCE",
        "REPORTED",
        "ORDERED",
        "NEXT TRY",
    ]);
    for row in rows {
        let (key, stock) = (&row.offering, &row.stock);
        let age = now.since(stock.observed_at);
        let expired = stock.ttl_ms > 0 && age > stock.ttl_ms;
        let state = if expired { "Unknown (expired)".to_owned() } else { format!("{:?}", stock.state) };
        let wait = stock.retry_at.since(now);
        table.row([
            key.instance_type.to_string(),
            key.capacity_type.as_str().to_owned(),
            dash(&key.region),
            key.zone.to_string(),
            number(row.price),
            state,
            if stock.lower_bound < PLENTY { stock.lower_bound.to_string() } else { "plenty".to_owned() },
            number(stock.confidence),
            if stock.observed_at == Millis(0) { "never".to_owned() } else { format!("{} ago", span(age)) },
            row.ordered.to_string(),
            if wait > 0 { format!("in {}", span(wait)) } else { "now".to_owned() },
        ]);
    }
    table.render()
}

/// `used/allocatable`: cores, GiB or pieces.
fn in_use(resources: &[ResourceUse], name: &str) -> String {
    let Some(row) = resources.iter().find(|row| &*row.name == name) else { return "-".to_owned() };
    let used = row.allocatable.saturating_sub(row.free);
    let unit = |amount: u64| match name {
        CPU => number((amount as f64 / 100.0).round() / 10.0),
        MEMORY => number((amount as f64 / (1u64 << 30) as f64).round()),
        _ => amount.to_string(),
    };
    let memory = if name == MEMORY { "Gi" } else { "" };
    format!("{}/{}{memory}", unit(used), unit(row.allocatable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_show_what_is_in_use() {
        let rows = [(CPU, 64_000, 62_550), (MEMORY, 512 << 30, 512 << 30), (GPU, 8, 3)]
            .map(|(name, allocatable, free)| ResourceUse { name: name.into(), allocatable, free });
        assert_eq!([CPU, MEMORY, GPU, "x"].map(|name| in_use(&rows, name)), ["1.5/64", "0/512Gi", "5/8", "-"]);
    }
}
