//! The way to a registry: TLS, silence, and other places that it sends to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::COST;
use super::program::{Desk, PASSWORD, Registry, USER, digest};

/// Makes a certificate for 127.0.0.1 and the authority that signed it; `false` where there is no OpenSSL.
fn certificates(folder: &std::path::Path) -> bool {
    let openssl = |arguments: &str| {
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().map(|output| output.status)
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let steps = [
        format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca -addext keyUsage=critical,keyCertSign"
        ),
        format!(
            "req -x509 {key} -keyout key.pem -out cert.pem -days 2 -subj /CN=registry -CA ca.pem -CAkey ca.key \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1"
        ),
    ];
    for step in steps {
        match openssl(&step) {
            Ok(status) => assert!(status.success(), "openssl {step}"),
            Err(error) => {
                berth_tests::left_out("a registry with TLS", &format!("openssl: {error}"));
                return false;
            }
        }
    }
    true
}

#[test]
fn a_registry_with_tls_is_known_by_its_certificate() {
    let certs = tempfile::tempdir().unwrap();
    if !certificates(certs.path()) {
        return;
    }
    let at = |name: &str| certs.path().join(name).display().to_string();
    let tls = format!(", tls: {{certificate: '{}', key: '{}'}}", at("cert.pem"), at("key.pem"));
    let Some(registry) = Registry::start(|_| String::new(), &tls) else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost:1.0", registry.host);
    let run = |arguments: &[&str], trusted: &str| {
        desk.run(desk.command(arguments).env_remove("SSL_CERT_DIR").env("SSL_CERT_FILE", trusted))
    };
    let push = ["policy", "push", COST, &reference, "--plain-http=false"];
    run(&push, &at("cert.pem")).refused(&["certificate", "hint: SSL_CERT_FILE names"]);
    run(&push, &at("absent.pem")).refused(&["this machine has no certificates"]);
    assert!(run(&push, &at("ca.pem")).done);
    assert!(run(&["policy", "pull", &reference, "--plain-http=false"], &at("ca.pem")).done);
    // One that has none is told apart.
    let Some(plain) = Registry::open() else { return };
    let reference = format!("{}/cost:1.0", plain.host);
    run(&["policy", "push", COST, &reference, "--plain-http=false"], &at("ca.pem"))
        .refused(&["hint: if it has no TLS"]);
}

/// Answers requests without a body by a function of their head; what it returns is sent, and the connection left open.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                while let Some(head) = head(&mut stream) {
                    let _ = stream.write_all(&answer(&head));
                }
            });
        }
    });
    host
}

/// The next head of a request; `None` where the connection ends.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

#[test]
fn a_registry_that_says_nothing_is_given_up() {
    let desk = Desk::new();
    let before = desk.files("policies");
    let silent = serve(|_| Vec::new());
    let half = serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"schemaVersion\":".to_vec());
    for host in [silent, half] {
        let reference = format!("{host}/cost:1.0");
        for command in [
            &["policy", "pull", &reference, "--timeout", "500ms"][..],
            &["policy", "push", COST, &reference, "--timeout", "500ms"],
        ] {
            let begun = Instant::now();
            let said = desk.berth(command);
            assert!(!said.done && begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
            assert!(said.err.contains("says nothing for 0.5 s") || command[1] == "push", "{}", said.err);
        }
    }
    assert_eq!(desk.files("policies"), before);
}

#[test]
fn a_manifest_without_end_is_not_read_to_it() {
    let desk = Desk::new();
    let endless = serve(|_| [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 5 << 20]].concat());
    desk.pull(&format!("{endless}/cost:1.0")).refused(&["the manifest of", "has more than 4194304 bytes"]);
}

#[test]
fn a_login_does_not_go_where_the_registry_sends_to() {
    let desk = Desk::new();
    let component = desk.read(COST);
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kept, bytes) = (heads.clone(), component.clone());
    let ok = |bytes: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes(), bytes].concat()
    };
    let elsewhere = serve(move |head| {
        kept.lock().unwrap().push(head.to_owned());
        // It tries to get the login by itself.
        if head.starts_with("GET /want") {
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else {
            ok(&bytes)
        }
    });
    let layer = json!({"mediaType": "application/wasm", "digest": digest(&component), "size": component.len()});
    let manifest = json!({"schemaVersion": 2, "config": layer, "layers": [layer]}).to_string();
    let (to, shown) = (elsewhere.clone(), Arc::new(Mutex::new(0)));
    let count = shown.clone();
    let registry = serve(move |head| {
        if !head.to_lowercase().contains("\r\nauthorization: basic ") {
            return b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
                .to_vec();
        }
        *count.lock().unwrap() += 1;
        if head.contains("/manifests/") {
            return ok(manifest.as_bytes());
        }
        let place = if head.contains("/wanted/") { "want" } else { "blob" };
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{to}/{place}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    });
    let auth = json!({"username": USER, "password": PASSWORD});
    desk.write("home/.docker/config.json", json!({"auths": {&registry: auth, &elsewhere: auth}}).to_string());
    desk.pull(&format!("{registry}/cost:1.0")).json();
    desk.pull(&format!("{registry}/wanted/cost:1.0")).refused(&["answers 401 Unauthorized"]);
    assert!(*shown.lock().unwrap() >= 4, "the registry itself gets it");
    let heads = heads.lock().unwrap();
    assert!(heads.len() >= 2 && heads.iter().all(|head| !head.to_lowercase().contains("authorization")), "{heads:?}");
}
