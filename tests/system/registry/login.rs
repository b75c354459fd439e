//! Who may pull and push, by what `docker login` has kept.

use std::os::unix::fs::PermissionsExt;

use base64ct::{Base64, Encoding};
use serde_json::json;

use super::program::{Desk, PASSWORD, Registry, USER};
use super::{COST, token};

const CONFIG: &str = "home/.docker/config.json";

fn logged_in(host: &str, password: &str) -> String {
    let auth = Base64::encode_string(format!("{USER}:{password}").as_bytes());
    json!({"auths": {host: {"auth": auth}}}).to_string()
}

#[test]
fn a_registry_with_passwords_lets_in_who_has_logged_in() {
    let Some(registry) = Registry::with_password() else { return };
    let desk = Desk::new();
    let reference = format!("{}/acme/cost:1.0", registry.host);
    let hint = format!("docker login {}", registry.host);
    let push = ["policy", "push", COST, &reference, "-o", "json"];
    desk.berth(&push).refused(&["wants a login for acme/cost", &hint]);
    desk.write(CONFIG, logged_in(&registry.host, "wrong"));
    desk.berth(&push).refused(&["does not let this login", &hint]);
    desk.write(CONFIG, logged_in("127.0.0.1:1", PASSWORD));
    desk.berth(&push).refused(&["wants a login"]);
    desk.write(CONFIG, logged_in(&registry.host, PASSWORD));
    desk.berth(&push).json();
    desk.pull(&reference).json();
    // The folder of the file may be another one.
    desk.write("elsewhere/config.json", logged_in(&registry.host, PASSWORD));
    desk.write(CONFIG, "{}");
    desk.pull(&reference).refused(&["wants a login"]);
    let mut pull = desk.command(&["policy", "pull", &reference, "-o", "json"]);
    desk.run(pull.env("DOCKER_CONFIG", "elsewhere")).json();
    // A file that is none is named, and nothing of it is shown.
    desk.write(CONFIG, format!("{{\"auths\": {PASSWORD}"));
    desk.pull(&reference).refused(&[CONFIG, "holds no logins"]);
    desk.write(CONFIG, json!({"auths": {&registry.host: {"auth": PASSWORD}}}).to_string());
    desk.pull(&reference).refused(&[CONFIG, "holds no logins"]);
}

#[test]
fn a_login_may_be_kept_by_a_helper() {
    let Some(registry) = Registry::with_password() else { return };
    let desk = Desk::new();
    let reference = format!("{}/acme/cost:1.0", registry.host);
    let helper = |name: &str, script: &str| {
        let name = format!("bin/docker-credential-{name}");
        desk.write(&name, format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(desk.path(&name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let login = json!({"ServerURL": registry.host, "Username": USER, "Secret": PASSWORD});
    helper("good", &format!("[ \"$1\" = get ] && [ \"$(cat)\" = '{}' ] && echo '{login}'", registry.host));
    helper("none", "echo 'credentials not found in native keychain'; exit 1");
    helper("broken", &format!("echo {PASSWORD}; echo {PASSWORD} >&2; exit 3"));
    helper("silent", "exit 0");
    let path = format!("{}:{}", desk.path("bin").display(), std::env::var("PATH").unwrap());
    let push = |config: serde_json::Value| {
        desk.write(CONFIG, config.to_string());
        let mut push = desk.command(&["policy", "push", COST, &reference, "-o", "json"]);
        desk.run(push.env("PATH", &path))
    };
    push(json!({"credHelpers": {&registry.host: "good"}})).json();
    push(json!({"credsStore": "good", "auths": {&registry.host: {}}})).json();
    push(json!({"credsStore": "good", "credHelpers": {&registry.host: "none"}})).refused(&["wants a login"]);
    push(json!({"credsStore": "broken"})).refused(&["docker-credential-broken does not give the login", "status: 3"]);
    push(json!({"credsStore": "silent"})).refused(&["docker-credential-silent does not give the login"]);
    push(json!({"credsStore": "absent"})).refused(&["docker-credential-absent does not give the login"]);
    push(json!({"credsStore": "../x"})).refused(&["is no name of a credential helper"]);
}

#[test]
fn tokens_are_fetched_for_what_is_done() {
    let (lines, asked) = token::start();
    let Some(registry) = Registry::start(lines, "") else { return };
    let desk = Desk::new();
    let reference = format!("{}/acme/cost:1.0", registry.host);
    let push = ["policy", "push", COST, &reference, "-o", "json"];
    // Anybody gets a token, but none to push with.
    desk.berth(&push).refused(&["wants a login for acme/cost"]);
    desk.write(CONFIG, logged_in(&registry.host, "wrong"));
    desk.berth(&push).refused(&["does not let this login"]);
    asked.lock().unwrap().clear();
    desk.write(CONFIG, logged_in(&registry.host, PASSWORD));
    desk.berth(&push).json();
    let wanted = std::mem::take(&mut *asked.lock().unwrap());
    let scopes: Vec<&str> = wanted.iter().map(|(_, scope)| scope.as_str()).collect();
    assert!(wanted.iter().all(|(who, _)| who == "user"), "{wanted:?}");
    assert!(scopes.len() <= 2 && scopes.iter().all(|scope| scope.starts_with("repository:acme/cost:")), "{scopes:?}");
    desk.write(CONFIG, "{}");
    desk.pull(&reference).json();
    assert_eq!(asked.lock().unwrap().pop().unwrap(), ("anybody".to_owned(), "repository:acme/cost:pull".to_owned()));
    desk.write(CONFIG, json!({"auths": {&registry.host: {"identitytoken": token::REFRESH}}}).to_string());
    desk.berth(&push).json();
    assert_eq!(asked.lock().unwrap().pop().unwrap().0, "identity");
}
