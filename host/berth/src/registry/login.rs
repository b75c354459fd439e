//! Logins: what a registry asks for, and what `docker login` has kept for it.
//!
//! Logins come from `config.json` in the folder `DOCKER_CONFIG`, or in `~/.docker`, where `docker login` and `oras login` keep
//! them: in the file itself, or with a helper program that it names. No message and no `Debug` shows
//! one, nor anything else of that file or of what a helper says.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use base64ct::{Base64, Encoding};
use serde_json::Value;

use crate::fail::hinted;

/// The user that stands for "the secret is an identity token", by the protocol of credential helpers.
const TOKEN_USER: &str = "<token>";
/// What Docker Hub is called in that file.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    Password {
        user: String,
        password: String,
    },
    /// To be exchanged for tokens of a registry.
    Identity(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl Login {
    /// As the value of an `authorization` header; `None` for an identity token, which is none of it.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Login::Password { user, password } => {
                Some(format!("Basic {}", Base64::encode_string(format!("{user}:{password}").as_bytes())))
            }
            Login::Identity(_) => None,
        }
    }

    fn new(user: &str, secret: &str) -> Self {
        if user == TOKEN_USER {
            Login::Identity(secret.to_owned())
        } else {
            Login::Password { user: user.to_owned(), password: secret.to_owned() }
        }
    }
}

/// The login for a registry, by the name that references have for it.
///
/// # Errors
/// If the file is there and cannot be understood, or the helper that it names fails.
pub(super) fn find(registry: &str) -> anyhow::Result<Option<Login>> {
    let Some(file) = file() else { return Ok(None) };
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(anyhow!(error).context(hinted(format!("{} cannot be read", file.display()), ""))),
    };
    let broken = || hinted(format!("{} holds no logins as `docker login` writes them", file.display()), "log in anew");
    // The position alone: other errors of the parser show what it found.
    let config: Value = serde_json::from_slice(&text).map_err(|_| broken())?;
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    if let Some(helper) = config["credHelpers"].as_object().and_then(|helpers| helpers.get(server)) {
        return ask(helper.as_str().with_context(broken)?, server);
    }
    let kept = config["auths"].as_object().and_then(|auths| {
        let exact = auths.get(server);
        exact.or_else(|| auths.iter().find(|(key, _)| is_key_of(key, registry)).map(|(_, login)| login))
    });
    if let Some(login) = kept.and_then(Value::as_object).filter(|login| !login.is_empty()) {
        return of_entry(&Value::Object(login.clone())).map(Some).with_context(broken);
    }
    match config["credsStore"].as_str().filter(|helper| !helper.is_empty()) {
        Some(helper) => ask(helper, server),
        None => Ok(None),
    }
}

fn file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")))?;
    Some(folder.join("config.json"))
}

/// Older tools wrote the address of the registry's API rather than its name.
fn is_key_of(key: &str, registry: &str) -> bool {
    let name = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let (name, path) = name.split_once('/').unwrap_or((name, ""));
    let hub = registry == "docker.io" && matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    (name == registry || hub) && matches!(path, "" | "v1" | "v1/" | "v2" | "v2/")
}

fn of_entry(entry: &Value) -> Option<Login> {
    if let Some(token) = entry["identitytoken"].as_str().filter(|token| !token.is_empty()) {
        return Some(Login::Identity(token.to_owned()));
    }
    if let Some(auth) = entry["auth"].as_str().filter(|auth| !auth.is_empty()) {
        let pair = String::from_utf8(Base64::decode_vec(auth.trim()).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        return Some(Login::new(user, password.trim_end_matches('\0')));
    }
    Some(Login::new(entry["username"].as_str()?, entry["password"].as_str()?))
}

/// Asks a credential helper, by its protocol: the registry on its stdin, a login in JSON on its stdout.
fn ask(helper: &str, server: &str) -> anyhow::Result<Option<Login>> {
    let program = format!("docker-credential-{helper}");
    if helper.contains(['/', '\\']) {
        bail!(hinted(format!("{program:?} is no name of a credential helper"), "log in anew"));
    }
    let failed = || hinted(format!("{program} does not give the login for {server}"), "log in anew, or run it by hand");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read will fail by itself.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().with_context(failed)?;
    if !output.status.success() {
        // The words by which every helper says that it has none.
        let none = String::from_utf8_lossy(&output.stdout).contains("credentials not found");
        return if none { Ok(None) } else { Err(anyhow!("it ended with {}", output.status).context(failed())) };
    }
    let answer: Value = serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
    match (answer["Username"].as_str(), answer["Secret"].as_str()) {
        (Some(user), Some(secret)) => Ok(Some(Login::new(user, secret))),
        _ => Err(failed().into()),
    }
}

/// One way to be let in that a registry offers in `www-authenticate` (RFC 9110, 11.6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All that one header offers. What is malformed gives nothing, so nothing is let in by it.
    pub(super) fn parse(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        for item in items(header) {
            // A scheme stands before the first parameter of its own, with a space between.
            let name = item.split('=').next().unwrap_or_default();
            let parameter = match name.trim_end().split_once(char::is_whitespace) {
                Some((scheme, _)) => {
                    challenges.push(Self { scheme: scheme.to_ascii_lowercase(), parameters: Vec::new() });
                    item[scheme.len()..].trim_start()
                }
                None if !item.contains('=') => {
                    challenges.push(Self { scheme: item.to_ascii_lowercase(), parameters: Vec::new() });
                    continue;
                }
                None => item,
            };
            if let (Some(challenge), Some((key, value))) = (challenges.last_mut(), parameter.split_once('=')) {
                challenge.parameters.push((key.trim().to_ascii_lowercase(), unquoted(value.trim())));
            }
        }
        challenges
    }
}

/// What commas separate, but for those in quotes.
fn items(header: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let apart = move |c: char| {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    };
    header.split(apart).map(str::trim).filter(|item| !item.is_empty())
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let mut text = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        text.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use serde_json::json;

    use super::*;

    fn password(user: &str, password: &str) -> Login {
        Login::Password { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let all = Challenge::parse(hub);
        let bearer = &all[0];
        assert_eq!(all.len(), 1);
        assert_eq!(
            (bearer.scheme.as_str(), bearer.parameter("realm")),
            ("bearer", Some("https://auth.docker.io/token"))
        );
        assert_eq!(bearer.parameter("scope"), Some("repository:a/b:pull,push"));
        let two = Challenge::parse("Negotiate, BASIC Realm = \"a \\\"b\\\", c\" , charset=UTF-8,bearer realm=x");
        assert_eq!(two.iter().map(|one| one.scheme.as_str()).collect::<Vec<_>>(), ["negotiate", "basic", "bearer"]);
        assert_eq!((two[1].parameter("realm"), two[1].parameter("charset")), (Some("a \"b\", c"), Some("UTF-8")));
        assert_eq!(two[2].parameter("realm"), Some("x"));
        for odd in ["", ",,", "=", "\"", "realm=\"x", "Bearer realm=\"x", "Bearer realm", "Bearer =", "é ü=\"\\"] {
            Challenge::parse(odd);
        }
    }

    #[test]
    fn entries_of_the_file_are_logins() {
        // "me:a:b" and "me:pw\0\0", as older versions padded it.
        assert_eq!(of_entry(&json!({"auth": "bWU6YTpi"})), Some(password("me", "a:b")));
        assert_eq!(of_entry(&json!({"auth": "bWU6cHcAAA=="})), Some(password("me", "pw")));
        assert_eq!(of_entry(&json!({"username": "me", "password": "pw"})), Some(password("me", "pw")));
        assert_eq!(of_entry(&json!({"auth": "bWU6cHc=", "identitytoken": "t"})), Some(Login::Identity("t".to_owned())));
        for wrong in [json!({"auth": "bWU="}), json!({"auth": "?"}), json!({"auth": 1}), json!({"email": "me"})] {
            assert_eq!(of_entry(&wrong), None, "{wrong}");
        }
        assert_eq!(password("me", "pw").basic().unwrap(), "Basic bWU6cHc=");
        assert_eq!(format!("{:?}", password("me", "pw")), "Login(..)");
    }

    #[test]
    fn keys_of_the_file_are_names_and_addresses_of_registries() {
        for key in ["ghcr.io", "https://ghcr.io", "http://ghcr.io/", "https://ghcr.io/v2/"] {
            assert!(is_key_of(key, "ghcr.io"), "{key}");
        }
        for key in ["ghcr.io.evil.com", "ghcr.io/acme", "https://evil.com/ghcr.io", "xghcr.io", "ghcr.io:444"] {
            assert!(!is_key_of(key, "ghcr.io"), "{key}");
        }
        assert!(is_key_of("https://index.docker.io/v1/", "docker.io") && !is_key_of("index.docker.io", "ghcr.io"));
    }
}
