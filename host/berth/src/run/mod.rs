//! `berth run`: one thread owns the controller, the simulated fleet and the policies, and runs the loops at the pace that
//! was asked for; the HTTP API asks that thread; signals stop it. This module starts them and waits for the end.

pub(crate) mod engine;
pub(crate) mod fleet;
mod kinds;
mod metrics;
pub(crate) mod objects;
mod pace;
pub(crate) mod policies;
mod report;
mod story;
mod views;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use berth_policy::Trust;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::fail::Exit;
use crate::server::{self, ask};
use engine::{Engine, Finish};
use fleet::FleetFile;

/// Everything that was said on the command line, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) fleet: Fleet,
    pub(crate) data_dir: PathBuf,
    pub(crate) policies: Option<PathBuf>,
    /// Whose policies are loaded; anybody's where there is none.
    pub(crate) trust: Option<Trust>,
    pub(crate) api: server::Settings,
    /// Simulated seconds in a second; 0 does not wait.
    pub(crate) speed: f64,
    pub(crate) until_settled: bool,
    /// Simulated milliseconds after which to stop.
    pub(crate) length_ms: Option<u64>,
    pub(crate) seed: u64,
    /// Bytes of recorded calls; 0 keeps none.
    pub(crate) records_size: u64,
    pub(crate) records_age: Duration,
    pub(crate) fresh: bool,
}

#[derive(Debug)]
pub(crate) enum Fleet {
    Example,
    File(PathBuf),
}

/// Reads the fleet file, and then runs; nothing is touched and no port taken before the file is known to be sound.
pub(crate) fn run(config: Config) -> anyhow::Result<Exit> {
    let fleet = FleetFile::read(&config.fleet)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // They read manifests; more at a time would take the processor from the planner.
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .context("the threads of the API cannot be started")?;
    let exit = runtime.block_on(supervise(config, fleet));
    // A request that hangs must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

async fn supervise(config: Config, fleet: FleetFile) -> anyhow::Result<Exit> {
    let api = config.api.clone();
    let listener = server::listen(api.listen).await?;
    let address = listener.local_addr().context("the API has no address")?;
    let stop = Arc::new(AtomicBool::new(false));
    let (asker, questions) = ask::channel(api.limits.max_waiting.get());
    let (finished, finish) = oneshot::channel();
    let engine = std::thread::Builder::new().name("engine".to_owned()).spawn({
        let stop = stop.clone();
        move || {
            let result = Engine::open(config, fleet, address).and_then(|mut engine| engine.run(&questions, &stop));
            // Nobody listens only if the program is ending anyway.
            drop(finished.send(result));
        }
    });
    engine.context("the engine's thread cannot be started")?;
    let (stop_serving, serving) = watch::channel(false);
    let api = tokio::spawn(server::serve(listener, asker, api, serving));
    let signals = tokio::spawn(stop_on_signal(stop));
    let result = finish.await.map_err(|_| anyhow!("the engine ended unexpectedly; what it printed above says where"));
    signals.abort();
    // Requests under way are answered, unless they hang. The receiver is gone only if the API has ended already.
    let _ = stop_serving.send(true);
    drop(tokio::time::timeout(Duration::from_secs(2), api).await);
    Ok(match result?? {
        Finish::Settled | Finish::Stopped => Exit::Done,
        Finish::Stuck => Exit::Stuck,
        Finish::Interrupted => Exit::Interrupted,
    })
}

/// Ctrl-C and SIGTERM ask for a clean stop; the second one does not wait for it.
async fn stop_on_signal(stop: Arc<AtomicBool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    }
}
