//! What arrives over a socket as no well-behaved client sends it: limits of sizes, times, numbers and rates, and requests
//! that two servers would read differently.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Running;
use crate::token::Tokens;

/// Debug builds on a busy machine are slow; nothing waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(100);

impl Running {
    pub(super) fn limited(limits: &[&str]) -> Self {
        Self::start_with(Tokens::default(), limits, false)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.base.strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// From another address of this machine.
    fn connect_from(&self, address: &str) -> TcpStream {
        let stream = self.runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
            socket.connect(self.address()).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends `request` as it is, and reads until the connection is closed.
    pub(super) fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have closed it before everything is sent.
        let _ = stream.write_all(request);
        rest(stream)
    }
}

/// What comes until the connection is closed, however that is done.
fn rest(mut stream: TcpStream) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 64 << 10]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&some[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection stays open"),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// One response, from a connection that stays open.
fn one(stream: &mut TcpStream) -> String {
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&all));
        all.push(byte[0]);
    }
    let head = String::from_utf8(all).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Statuses of all responses in `text`.
fn statuses(text: &str) -> Vec<u16> {
    text.match_indices("HTTP/1.1 ").filter_map(|(at, start)| text[at + start.len()..].get(..3)?.parse().ok()).collect()
}

const HOST: &str = "Host: localhost\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{HOST}\r\n")
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /api/v1/apply HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n{headers}\r\n{body}")
}

/// A config map by the name `name`, as a request.
fn apply(name: &str) -> String {
    let text = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}");
    let body = json!({"sources": [{"name": "a.yaml", "text": text}]}).to_string();
    post(&format!("Content-Length: {}\r\n", body.len()), &body)
}

const SMUGGLED: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn requests_that_two_servers_would_read_differently_are_refused() {
    let running = Running::start(None);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let refused = [
        ("two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}x")),
        ("two lengths in one", post("Content-Length: 2, 3\r\n", "{}x")),
        ("a signed length", post("Content-Length: +2\r\n", "{}")),
        ("a negative length", post("Content-Length: -2\r\n", "{}")),
        ("a length in hex", post("Content-Length: 0x2\r\n", "{}")),
        ("an empty length", post("Content-Length: \r\n", "{}")),
        ("too long a length", post("Content-Length: 18446744073709551617\r\n", "{}")),
        ("a length and chunks", post(&format!("Content-Length: 4\r\n{chunked}"), &format!("0\r\n\r\n{SMUGGLED}"))),
        ("chunks and a length", post(&format!("{chunked}Content-Length: 4\r\n"), &format!("0\r\n\r\n{SMUGGLED}"))),
        ("an unknown encoding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("an encoding after chunks", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("a tab before the colon", post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n")),
        ("a space before the colon", post("Content-Length : 2\r\n", "{}")),
        ("a folded line", post("X-One: a\r\n b\r\nContent-Length: 2\r\n", "{}")),
        ("a bare carriage return", post("X-One: a\rContent-Length: 2\r\n", "{}")),
        ("a zero byte", post("X-One: a\0b\r\nContent-Length: 2\r\n", "{}")),
        ("a chunk of no size", post(chunked, "x\r\n{}\r\n0\r\n\r\n")),
        ("a chunk of too large a size", post(chunked, "fffffffffffffffff\r\n{}\r\n0\r\n\r\n")),
        ("two hosts", format!("GET /healthz HTTP/1.1\r\n{HOST}{HOST}\r\n")),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned()),
        ("another host in the request line", get("http://evil/healthz")),
        ("no path", get("healthz")),
        ("a space in the path", get("/healthz x")),
        ("a control character in the path", get("/healthz\x01")),
        ("another version", format!("GET /healthz HTTP/3.0\r\n{HOST}\r\n")),
        ("no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01".to_owned()),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ];
    for (what, request) in refused {
        let answer = running.raw(request.as_bytes());
        let found = statuses(&answer);
        assert!(found.iter().all(|status| (400..500).contains(status) || *status == 505), "{what}: {answer}");
        assert!(found.len() <= 1 && !answer.contains("berth_"), "{what}: {answer}");
    }
    assert_eq!(running.get("/api/v1/objects?kind=cm").1["items"], json!([]));
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let running = Running::start(None);
    let length = SMUGGLED.len();
    for head in [
        format!("GET /healthz HTTP/1.1\r\n{HOST}"),
        format!("POST /api/v1/top HTTP/1.1\r\n{HOST}"),
        "POST /nowhere HTTP/1.1\r\nHost: evil\r\n".to_owned(),
    ] {
        let answer = running.raw(format!("{head}Content-Length: {length}\r\n\r\n{SMUGGLED}").as_bytes());
        assert!(statuses(&answer).len() == 1 && !answer.contains("berth_"), "{answer}");
    }
    // What is well formed goes through, one after another on one connection.
    let chunked = post("Transfer-Encoding: chunked\r\n", "d\r\n{\"sources\":[]\r\n1\r\n}\r\n0\r\n\r\n");
    let answer = running.raw(format!("{}{chunked}{}", get("/healthz"), get("/readyz")).as_bytes());
    assert_eq!(statuses(&answer), [200, 200, 200], "{answer}");
}

#[test]
fn heads_are_limited_in_size_and_number() {
    let running = Running::limited(&["--max-headers", "10", "--max-head", "8Ki"]);
    let head = |headers: String| running.raw(format!("GET /healthz HTTP/1.1\r\n{HOST}{headers}\r\n").as_bytes());
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: a\r\n")).collect::<String>();
    assert_eq!(statuses(&head(many(9))), [200]);
    assert_eq!(statuses(&head(many(10))), [431]);
    assert_eq!(statuses(&head(format!("X-A: {}\r\n", "a".repeat(7 << 10)))), [200]);
    assert_eq!(statuses(&head(format!("X-A: {}\r\n", "a".repeat(8 << 10)))), [431]);
    let path = running.raw(get(&format!("/{}", "a".repeat(9 << 10))).as_bytes());
    assert!(matches!(statuses(&path)[..], [414 | 431]), "{path}");
    // One that never ends is not read to its end.
    let mut stream = running.connect();
    let written = (0..1000).map_while(|_| stream.write_all(&[b'a'; 64 << 10]).ok()).count();
    assert!(written < 1000);
}

#[test]
fn slow_heads_and_unused_connections_are_dropped() {
    let running = Running::limited(&["--head-timeout", "300ms"]);
    let closes = |mut stream: TcpStream, drip: bool| {
        let begun = Instant::now();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'a')) {
            assert!(begun.elapsed() < PATIENCE, "the connection stays open");
            if drip && stream.write_all(&[*byte]).is_err() {
                break;
            }
            match stream.read(&mut [0; 1024]) {
                Ok(0) => break,
                Err(error) if error.kind() != ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
        begun.elapsed()
    };
    for drip in [false, true] {
        let time = closes(running.connect(), drip);
        assert!(time > Duration::from_millis(200), "{time:?}");
    }
    // So is one that was used.
    let mut stream = running.connect();
    write!(stream, "{}", get("/healthz")).unwrap();
    assert_eq!(statuses(&one(&mut stream)), [200]);
    closes(stream, false);
}

#[test]
fn slow_bodies_are_given_up() {
    let running = Running::limited(&["--request-timeout", "300ms"]);
    let mut stream = running.connect();
    write!(stream, "{}", post("Content-Length: 1000\r\n", "")).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        let drops = (0..900).map_while(|_| {
            std::thread::sleep(Duration::from_millis(20));
            writing.write_all(b" ").ok()
        });
        drops.count()
    });
    let answer = rest(stream);
    assert_eq!(statuses(&answer), [408], "{answer}");
    assert!(answer.contains("\"Timeout\"") && drip.join().unwrap() < 900);
}

#[test]
fn answers_that_are_not_taken_are_given_up() {
    let running = Running::limited(&["--send-timeout", "500ms"]);
    let large = "x".repeat(3 << 20);
    let text = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"a": large}});
    let body = json!({"sources": [{"name": "large.json", "text": text.to_string()}]});
    assert_eq!(running.post("/api/v1/apply", &body).0, 200);
    let request = get("/api/v1/objects?kind=cm");
    // More than the kernel keeps for a reader that does not read.
    let (mut stream, asked) = (running.connect(), 16);
    write!(stream, "{}", request.repeat(asked)).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let taken = rest(stream).len();
    assert!(taken < asked * large.len(), "all of it came: {taken}");
    // Who takes them gets them.
    let mut stream = running.connect();
    for _ in 0..4 {
        write!(stream, "{request}").unwrap();
        assert!(one(&mut stream).len() > large.len());
    }
}

#[test]
fn connections_are_limited_in_all_and_from_one_address() {
    let running = Running::limited(&["--max-connections", "3", "--max-connections-per-peer", "2"]);
    // An answer tells that the connection was taken.
    let keep = |mut stream: TcpStream| {
        write!(stream, "{}", get("/healthz")).unwrap();
        assert_eq!(statuses(&one(&mut stream)), [200]);
        stream
    };
    let (first, second) = (keep(running.connect()), keep(running.connect()));
    let mut full = running.connect();
    let answer = one(&mut full);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    super::has_schema(&json!({"$ref": "#/components/schemas/Error"}), &body, "a full house");
    assert_eq!(rest(full), "");
    let third = keep(running.connect_from("127.0.0.2"));
    assert!(one(&mut running.connect_from("127.0.0.3")).starts_with("HTTP/1.1 503 "), "three are all");
    drop((first, second, third));
    let begun = Instant::now();
    while statuses(&running.raw(get("/healthz").as_bytes())) != [200] {
        assert!(begun.elapsed() < PATIENCE, "places that were left stay taken");
    }
}

#[test]
fn one_address_asks_as_often_as_it_may() {
    let running = Running::limited(&["--rate-limit", "1", "--rate-burst", "3"]);
    let answer = running.raw(get("/metrics").repeat(5).as_bytes());
    let found = statuses(&answer);
    assert_eq!((found.len(), &found[..3]), (5, &[200, 200, 200][..]), "{answer}");
    assert!(
        found.contains(&429) && answer.contains("retry-after: 1\r\n") && answer.contains("\"TooFast\""),
        "{answer}"
    );
    let mut other = running.connect_from("127.0.0.2");
    write!(other, "{}", get("/metrics")).unwrap();
    assert_eq!(statuses(&one(&mut other)), [200]);
}

#[test]
fn what_the_controller_has_no_time_for_is_refused_and_not_done() {
    let running = Running::limited(&["--max-waiting", "1", "--request-timeout", "1s"]);
    while running.get("/healthz").0 != 200 {}
    let asker = running.asker.clone();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let stalled = running.runtime.spawn(async move {
        let stall = move |_: &mut crate::run::engine::Engine| {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_secs(3));
        };
        asker.ask(stall).await
    });
    has_begun.recv().unwrap();
    // One waits, until it is told that it took too long; the next finds no place.
    let mut waiting = running.connect();
    write!(waiting, "{}", apply("late")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let mut refused = running.connect();
    write!(refused, "{}", apply("refused")).unwrap();
    let answer = one(&mut refused);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    let answer = one(&mut waiting);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    running.runtime.block_on(stalled).unwrap().unwrap();
    while running.get("/healthz").0 != 200 {}
    let objects = running.get("/api/v1/objects?kind=cm").1;
    assert_eq!(objects["items"], json!([]), "what was refused was not done");
}

#[test]
fn all_bodies_together_are_limited() {
    let running = Running::limited(&["--max-body", "1Ki"]);
    let begin = || {
        let mut stream = running.connect();
        write!(stream, "{}", post("Transfer-Encoding: chunked\r\n", "1\r\n{\r\n")).unwrap();
        stream
    };
    let all: Vec<TcpStream> = (0..8).map(|_| begin()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let answer = running.raw(apply("one-more").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(running.get("/api/v1/status").0, 200, "who sends no body needs no room for one");
    drop(all);
    let begun = Instant::now();
    while statuses(&running.raw(apply("one-more").as_bytes())) != [200] {
        assert!(begun.elapsed() < PATIENCE, "the room is not given back");
    }
}

/// All rows of a list in pages of three, and how many pages they took.
fn pages(running: &Running, path: &str, rows: fn(&Value) -> Vec<Value>) -> (Vec<Value>, usize) {
    let (mut all, mut after) = (Vec::new(), String::new());
    for count in 1.. {
        let (status, page) = running.get(&format!("{path}limit=3{after}"));
        assert_eq!(status, 200, "{page}");
        let found = rows(&page);
        assert!((1..=3).contains(&found.len()), "{page}");
        all.extend(found);
        match page["continue"].as_str() {
            Some(place) => after = format!("&continue={place}"),
            None => return (all, count),
        }
    }
    unreachable!()
}

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap().clone()
}

fn tables(page: &Value) -> Vec<Value> {
    ["clusters", "pools", "stock"].iter().flat_map(|table| page[*table].as_array().unwrap().clone()).collect()
}

#[test]
fn lists_come_in_pages_that_make_a_whole() {
    let running = Running::start(None);
    let names: Vec<String> = (0..7).map(|number| format!("map-{number}")).collect();
    let manifest = |name: &String| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n");
    let text = names.iter().map(manifest).collect::<Vec<_>>().join("---\n");
    assert_eq!(running.post("/api/v1/apply", &json!({"sources": [{"name": "a", "text": text}]})).0, 200);
    let (objects, count) = pages(&running, "/api/v1/objects?kind=cm&", items);
    let found: Vec<&str> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!((found, count), (names.iter().map(String::as_str).collect(), 3));
    let key = |rows: Vec<Value>, of: &[&str]| -> Vec<String> {
        rows.iter().map(|row| of.iter().map(|name| row[*name].to_string()).collect()).collect()
    };
    let whole = items(&running.get("/api/v1/workloads").1);
    assert!(whole.len() > 7);
    assert_eq!(key(pages(&running, "/api/v1/workloads?", items).0, &["workload"]), key(whole, &["workload"]));
    let (whole, of) = (tables(&running.get("/api/v1/top").1), ["cluster", "name", "offering"]);
    assert_eq!(whole.len(), 18);
    assert_eq!(key(pages(&running, "/api/v1/top?", tables).0, &of), key(whole, &of));
}
