//! The registry of CNCF distribution as a process, and the program `berth` beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Debug builds on a busy machine are slow; nothing waits that long when all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
const PROGRAM: &str = "registry";
const INSTALL: &str = "go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2, with GOBIN in PATH";

pub(super) const USER: &str = "canary-user-5d18";
pub(super) const PASSWORD: &str = "canary-password-71c0";
/// `USER` with the bcrypt of `PASSWORD`, as `htpasswd -nB` prints it.
const HTPASSWD: &str = "canary-user-5d18:$2a$04$iXH7qMxDsTep63h8TQsHPuQzdAGr6ObsTfJMm/eJ6ENbRBGWEmSUe\n";

/// A registry on a free port of this machine, with a folder of its own. It ends with its value.
pub(super) struct Registry {
    folder: tempfile::TempDir,
    child: Child,
    /// Address and port.
    pub(super) host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// For everybody; `None` where this machine has no such program.
    pub(super) fn open() -> Option<Self> {
        Self::start(|_| String::new(), "")
    }

    /// For who has a password.
    pub(super) fn with_password() -> Option<Self> {
        let auth = |folder: &Path| {
            fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
            format!("auth: {{htpasswd: {{realm: all, path: {}}}}}", folder.join("htpasswd").display())
        };
        Self::start(auth, "")
    }

    /// With further lines of its configuration, made in its folder, and further fields of its `http`.
    pub(super) fn start(lines: impl FnOnce(&Path) -> String, http: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let lines = lines(folder.path());
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:0', headers: {{}}{http}}}\n{lines}\n",
            folder.path().join("data").display()
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let spawned = Command::new(PROGRAM)
            .args(["serve", "config.yml"])
            .current_dir(folder.path())
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                berth_tests::left_out("policies from and to a registry", &format!("there is no registry; {INSTALL}"));
                return None;
            }
            Err(error) => panic!("{PROGRAM}: {error}"),
        };
        let mut registry = Self { folder, child, host: String::new() };
        let begun = Instant::now();
        loop {
            let log = fs::read_to_string(registry.folder.path().join("log")).unwrap();
            if let Some((_, address)) = log.split_once("listening on ") {
                let end = address.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                if let Some(end) = end {
                    registry.host = address[..end].to_owned();
                    return Some(registry);
                }
            }
            assert!(begun.elapsed() < PATIENCE && registry.child.try_wait().unwrap().is_none(), "no registry: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it keeps the bytes of a digest.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.folder.path().join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Puts a manifest there past the program, with blobs that it names.
    pub(super) fn put(&self, repository: &str, tag: &str, media_type: &str, manifest: &Value, blobs: &[&[u8]]) {
        let at = |path: &str| format!("http://{}/v2/{repository}/{path}", self.host);
        for blob in blobs {
            let started = ureq::post(at("blobs/uploads/")).send_empty().unwrap();
            let place = started.headers()["location"].to_str().unwrap();
            let digest = digest(blob);
            ureq::put(format!("{place}&digest={digest}")).content_type("application/octet-stream").send(*blob).unwrap();
        }
        let manifest = serde_json::to_vec(manifest).unwrap();
        ureq::put(at(&format!("manifests/{tag}"))).content_type(media_type).send(&manifest).unwrap();
    }
}

pub(super) fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A folder in which the program runs, with some of the built-in policies in `policies/` and a home of its own.
pub(super) struct Desk {
    folder: tempfile::TempDir,
}

/// What a command printed and how it ended.
pub(super) struct Said {
    pub(super) done: bool,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    pub(super) fn json(&self) -> Value {
        assert!(self.done, "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// It failed with all of this in its message.
    pub(super) fn refused(&self, words: &[&str]) {
        assert!(!self.done, "it is not refused: {}", self.out);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in: {}", self.err);
        }
    }
}

impl Desk {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies");
        fs::create_dir(&policies).unwrap();
        for name in ["cost.wasm", "fifo.wasm", "weighted.wasm", "policies.toml"] {
            let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name);
            fs::copy(built_in, policies.join(name)).unwrap();
        }
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    /// All files of a folder with what is in them, to see that nothing changed.
    pub(super) fn files(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.path(name)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<(String, Vec<u8>)> =
            entries.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
        files.sort();
        files
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path().join("home"))
            .env("RUST_LOG", "trace")
            .env_remove("DOCKER_CONFIG")
            .env_remove("BERTH_TOKEN")
            .env_remove("BERTH_POLICY_KEY")
            .stdin(Stdio::null());
        command
    }

    /// Runs it. Whatever it says, no login is in it.
    pub(super) fn run(&self, command: &mut Command) -> Said {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        for secret in [USER, PASSWORD, super::token::REFRESH, super::token::MARK] {
            assert!(!out.contains(secret) && !err.contains(secret), "{secret} is shown: {out}{err}");
        }
        Said { done: status.success(), out, err }
    }

    pub(super) fn berth(&self, arguments: &[&str]) -> Said {
        self.run(&mut self.command(arguments))
    }

    pub(super) fn push(&self, file: &str, reference: &str) -> Value {
        self.berth(&["policy", "push", file, reference, "-o", "json"]).json()
    }

    pub(super) fn pull(&self, reference: &str) -> Said {
        self.berth(&["policy", "pull", reference, "-o", "json"])
    }

    /// Makes a pair of keys, and says its name.
    pub(super) fn key(&self, name: &str) -> String {
        let made = self.berth(&["policy", "keygen", name, "-o", "json"]).json();
        made["keyId"].as_str().unwrap().to_owned()
    }

    pub(super) fn sign(&self, file: &str, key: &str) {
        let signed = self.berth(&["policy", "sign", file, "--key", &format!("{key}.key")]);
        assert!(signed.done, "{}", signed.err);
    }

    /// The same policy as other bytes: a custom section says nothing to whoever runs it.
    pub(super) fn another(&self, file: &str, note: &str) -> Vec<u8> {
        let mut bytes = self.read(file);
        bytes.extend([0, note.len() as u8 + 2, 1, b'n']);
        bytes.extend(note.as_bytes());
        bytes
    }
}
