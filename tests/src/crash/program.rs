//! The program as a child process: started on a folder, killed without a word, started again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::{Answer, Client};

/// Debug builds on a busy machine are slow; nothing waits that long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) fleet: PathBuf,
    pub(crate) policies: PathBuf,
    pub(crate) data: PathBuf,
    /// What it prints goes here.
    pub(crate) log: PathBuf,
    /// Simulated seconds in a second.
    pub(crate) speed: f64,
}

/// How it ended if it had ended before it was killed, and what it printed.
pub(crate) type Death = (Option<ExitStatus>, String);

#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    begun: Instant,
}

impl Launch {
    pub(crate) fn start(&self) -> Result<Running> {
        let log = File::create(&self.log).with_context(|| self.log.display().to_string())?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--fleet").arg(&self.fleet).arg("--policies").arg(&self.policies);
        command.arg("--data-dir").arg(&self.data).args(["--listen", "127.0.0.1:0", "--speed", &self.speed.to_string()]);
        command
            .env_remove("BERTH_TOKEN")
            .env_remove("BERTH_READ_TOKEN")
            .env_remove("BERTH_SERVER")
            .env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Running { child, log: self.log.clone(), begun })
    }
}

impl Running {
    pub(crate) fn since_start(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn printed(&self) -> String {
        printed(&self.log)
    }

    /// Waits until it has made its first step.
    pub(crate) fn ready(&mut self) -> Result<Client> {
        let client = loop {
            if let Some(base) = address(&self.printed()) {
                break Client::new(&base);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it does not start ({status}):\n{}", self.printed());
            }
            if self.begun.elapsed() > PATIENCE {
                bail!("it says no address:\n{}", self.printed());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        loop {
            match client.get("/readyz") {
                Answer::Done(_) => return Ok(client),
                answer if self.begun.elapsed() > PATIENCE => bail!("it is not ready: {answer:?}\n{}", self.printed()),
                _ => {}
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended before it was ready ({status}):\n{}", self.printed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> Result<Death> {
        let ended = self.child.try_wait()?;
        self.child.kill().or_else(|error| if ended.is_some() { Ok(()) } else { Err(error) })?;
        self.child.wait()?;
        Ok((ended, self.printed()))
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    /// Whether it said that it serves.
    pub(crate) fn address(&self) -> Option<String> {
        address(&self.printed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn printed(log: &Path) -> String {
    fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn address(printed: &str) -> Option<String> {
    let at = printed.find("http://127.0.0.1:")?;
    let rest = printed.get(at + 17..)?;
    // Only once the whole number is there.
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    printed.get(at..at + 17 + end).map(str::to_owned)
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
