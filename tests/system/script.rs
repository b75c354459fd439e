//! Runs one script: `scripts/NAME.txt`, in a folder of its own with a copy of what is in `scripts/NAME/`, and with the
//! built-in policies in `policies/`.
//!
//! ```text
//! # A comment.
//! $ berth get clusters          runs the program; the lines below are what it prints, [exit N] how it ends if not with 0
//! $ start berth run ...         in the background, with its output in run.log; later commands speak to its API
//! $ wait TEXT                   until run.log holds TEXT
//! $ eventually berth ...        again and again until it prints what is expected
//! $ copy A B
//! $ chmod MODE FILE
//! $ stop                        ends the background program as a service manager does; then what it printed last
//! $ crash                       ends it at once, without a word
//! ```

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::pattern::matches;

/// Debug builds on a busy machine are slow; nothing waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

struct Step {
    command: String,
    expected: Vec<String>,
    /// First line of the expected output within the script, and how many lines it has.
    at: usize,
}

struct Stage {
    folder: tempfile::TempDir,
    running: Option<Child>,
    server: Option<String>,
}

pub(crate) fn run(name: &str) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/system/scripts");
    let file = scripts.join(format!("{name}.txt"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut stage = Stage { folder: tempfile::tempdir().unwrap(), running: None, server: None };
    copy_all(&scripts.join(name), stage.folder.path());
    copy_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies"), &stage.folder.path().join("policies"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut failures = Vec::new();
    // From the end, so that earlier line numbers stay right when lines are replaced.
    let steps = parse(&lines);
    let printed: Vec<Vec<String>> = steps.iter().map(|step| stage.step(step)).collect();
    for (step, printed) in steps.iter().zip(printed).rev() {
        if !matches(&step.expected, &printed) {
            let (expected, got) = (step.expected.join("\n"), printed.join("\n"));
            failures.push(format!(
                "{name}.txt:{}: $ {}\n--- expected\n{expected}\n--- printed\n{got}\n",
                step.at, step.command
            ));
            lines.splice(step.at..step.at + step.expected.len(), printed);
        }
    }
    if std::env::var_os("BERTH_UPDATE").is_some() {
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        return;
    }
    failures.reverse();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn parse(lines: &[String]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), expected: Vec::new(), at: index + 1 });
        } else if let Some(step) = steps.last_mut()
            && step.at + step.expected.len() == index
            && !line.is_empty()
            && !line.starts_with("# ")
        {
            step.expected.push(line.clone());
        }
    }
    steps
}

impl Stage {
    /// Lines that the step printed, in the form in which scripts have them.
    fn step(&mut self, step: &Step) -> Vec<String> {
        let words = split(&step.command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["berth", arguments @ ..] => self.berth(arguments),
            ["start", "berth", arguments @ ..] => self.start(arguments),
            ["eventually", "berth", arguments @ ..] => {
                let begun = Instant::now();
                loop {
                    let printed = self.berth(arguments);
                    if matches(&step.expected, &printed) || begun.elapsed() > PATIENCE {
                        return printed;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            ["wait", text @ ..] => self.wait(&text.join(" ")),
            ["copy", from, to] => {
                let (from, to) = (self.folder.path().join(from), self.folder.path().join(to));
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
                Vec::new()
            }
            ["chmod", mode, file] => {
                let mode = fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap());
                fs::set_permissions(self.folder.path().join(file), mode).unwrap();
                Vec::new()
            }
            ["stop"] => self.stop(),
            ["crash"] => {
                let mut child = self.running.take().expect("a program runs");
                child.kill().unwrap();
                child.wait().unwrap();
                self.server = None;
                Vec::new()
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    fn command(&self, arguments: &[&str], out: &File) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.current_dir(self.folder.path()).stdout(out.try_clone().unwrap()).stderr(out.try_clone().unwrap());
        command
            .env_remove("BERTH_TOKEN")
            .env_remove("BERTH_POLICY_KEY")
            .env_remove("RUST_LOG")
            .env("BERTH_SERVER", self.server.as_deref().unwrap_or("http://127.0.0.1:9"));
        let stdin = arguments.iter().position(|word| *word == "<");
        match stdin {
            Some(at) => {
                command.args(&arguments[..at]).stdin(File::open(self.folder.path().join(arguments[at + 1])).unwrap())
            }
            None => command.args(arguments).stdin(Stdio::null()),
        };
        command
    }

    fn berth(&self, arguments: &[&str]) -> Vec<String> {
        let log = self.folder.path().join("command.log");
        let status = self.command(arguments, &File::create(&log).unwrap()).status().unwrap();
        self.printed(&log, 0, status.code())
    }

    fn start(&mut self, arguments: &[&str]) -> Vec<String> {
        assert!(self.running.is_none(), "stop the program that runs first");
        let log = self.log();
        let mut arguments = arguments.to_vec();
        arguments.extend(["--listen", "127.0.0.1:0"]);
        self.running = Some(self.command(&arguments, &File::create(&log).unwrap()).spawn().unwrap());
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(at) = text.find("http://127.0.0.1:") {
                let end = text[at + 17..].find(|letter: char| !letter.is_ascii_digit());
                if let Some(end) = end {
                    self.server = Some(text[at..at + 17 + end].to_owned());
                    return Vec::new();
                }
            }
            if let Some(status) = self.running.as_mut().unwrap().try_wait().unwrap() {
                self.running = None;
                return self.printed(&log, 0, status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no API address in {}", fs::read_to_string(&log).unwrap());
    }

    fn wait(&self, text: &str) -> Vec<String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if fs::read_to_string(self.log()).unwrap().contains(text) {
                return Vec::new();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{text:?} does not come in\n{}", fs::read_to_string(self.log()).unwrap());
    }

    fn stop(&mut self) -> Vec<String> {
        let mut child = self.running.take().expect("a program runs");
        self.server = None;
        let before = fs::metadata(self.log()).unwrap().len() as usize;
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let status = child.wait().unwrap();
        self.printed(&self.log(), before, status.code())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("run.log")
    }

    /// What is in `log` from byte `from` on, without what differs from run to run.
    fn printed(&self, log: &Path, from: usize, code: Option<i32>) -> Vec<String> {
        let bytes = fs::read(log).unwrap();
        let text = String::from_utf8_lossy(&bytes[from..]);
        let text = text.replace(&self.folder.path().display().to_string(), "<dir>");
        let mut lines: Vec<String> = text.lines().map(visible).collect();
        match code {
            Some(0) => {}
            Some(code) => lines.push(format!("[exit {code}]")),
            None => lines.push("[killed]".to_owned()),
        }
        lines
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Empty lines stand as a bar in scripts, where they would end the output.
fn visible(line: &str) -> String {
    let line = line.trim_end();
    if line.is_empty() { "|".to_owned() } else { line.to_owned() }
}

/// Words of a command line; double quotes hold a word together.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
