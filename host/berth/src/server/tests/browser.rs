//! What a page in a browser could try: to write with a form, to read from another site, to make the API show its input as
//! a page, and to find files.

use serde_json::{Value, json};

use super::Running;

/// Status, headers in lower case, body.
fn ask(running: &Running, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let fixed = format!("Host: localhost\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    let answer = running.raw(format!("{method} {path} HTTP/1.1\r\n{fixed}{headers}\r\n{body}").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn every_answer_says_that_it_is_no_page_and_for_nobody_else() {
    let running = Running::start(Some("0123456789abcdef"));
    let token = ("Authorization", "Bearer 0123456789abcdef");
    let answers = [
        ("GET", "/healthz", vec![], 200),
        ("GET", "/metrics", vec![token], 200),
        ("GET", "/openapi.json", vec![token], 200),
        ("GET", "/api/v1/top", vec![token], 200),
        ("GET", "/api/v1/top", vec![], 401),
        ("GET", "/api/v1/top", vec![token, ("Origin", "http://evil.example")], 403),
        ("GET", "/script:alert(1)", vec![token], 404),
        ("GET", "/api/v1/objects?kind=%3Cscript%3Ealert(1)%3C/script%3E", vec![token], 404),
        ("GET", "/api/v1/objects?%3Cscript%3E=1", vec![token], 400),
        ("POST", "/api/v1/apply", vec![token, JSON], 400),
        ("PATCH", "/api/v1/apply", vec![token, JSON], 405),
        ("HEAD", "/api/v1/status", vec![token], 200),
    ];
    for (method, path, headers, status) in answers {
        let (found, head, body) = ask(&running, method, path, &headers, "");
        assert_eq!(found, status, "{method} {path}: {head}\n{body}");
        for line in [
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'",
            "frame-ancestors 'none'",
            "x-frame-options: deny",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(line), "{method} {path} has no {line}: {head}");
        }
        let plain = ["content-type: application/json", "content-type: text/plain"];
        assert!(plain.iter().any(|kind| head.contains(kind)), "{method} {path}: {head}");
        assert!(!head.contains("access-control-") && !head.contains("set-cookie"), "{head}");
        assert!(!path.starts_with("/script") || !body.contains("script"), "{body}");
    }
}

#[test]
fn pages_cannot_write() {
    let running = Running::start(None);
    let body = json!({"sources": [{"name": "a", "text": "{apiVersion: v1, kind: ConfigMap, metadata: {name: evil}}"}]});
    let body = body.to_string();
    let other_port = format!("http://localhost:{}", running.address().port());
    let tried = [
        // What a form or a script may send without asking.
        ("POST", vec![], 415),
        ("POST", vec![("Content-Type", "text/plain")], 415),
        ("POST", vec![("Content-Type", "text/plain; application/json")], 415),
        ("POST", vec![("Content-Type", "application/x-www-form-urlencoded")], 415),
        ("POST", vec![("Content-Type", "multipart/form-data; boundary=a")], 415),
        // What it may send after asking, which is never allowed.
        ("POST", vec![JSON, ("Origin", "http://evil.example")], 403),
        ("POST", vec![JSON, ("Origin", "null")], 403),
        ("POST", vec![JSON, ("Origin", "http://localhost.evil.example")], 403),
        ("POST", vec![JSON, ("Origin", "http://localhost"), ("Origin", "http://evil.example")], 403),
        ("POST", vec![JSON, ("Origin", other_port.as_str())], 403),
        ("POST", vec![JSON, ("Sec-Fetch-Site", "cross-site")], 403),
        ("POST", vec![JSON, ("Sec-Fetch-Site", "same-site")], 403),
        // A method that a form cannot send, by way of one that it can.
        ("GET", vec![JSON, ("X-HTTP-Method-Override", "POST")], 405),
        ("HEAD", vec![JSON, ("X-Method-Override", "POST")], 405),
        ("PUT", vec![JSON], 405),
        ("DELETE", vec![JSON], 405),
        ("TRACE", vec![JSON], 405),
    ];
    for (method, headers, status) in tried {
        let (found, head, _) = ask(&running, method, "/api/v1/apply", &headers, &body);
        assert_eq!(found, status, "{method} {headers:?}: {head}");
    }
    let asking = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
        ("Access-Control-Request-Private-Network", "true"),
    ];
    for headers in [&asking[..], &asking[1..]] {
        let (status, head, _) = ask(&running, "OPTIONS", "/api/v1/apply", headers, "");
        assert!(matches!(status, 403 | 405) && !head.contains("access-control-allow"), "{head}");
    }
    let found = running.get("/api/v1/objects?kind=cm").1;
    assert_eq!(found["items"], json!([]));
    // By itself it is a fine request.
    assert_eq!(ask(&running, "POST", "/api/v1/apply", &[JSON], &body).0, 200);
}

#[test]
fn no_path_and_no_name_leads_to_a_file() {
    let running = Running::start(None);
    let paths = [
        "/../../../../etc/passwd",
        "/api/v1/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/..\\..\\etc\\passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/berth.redb",
        "/api/v1/objects?kind=../../../etc/passwd",
        "/api/v1/objects?kind=cm&name=../../../etc/passwd",
        "/api/v1/explain?namespace=..&name=../../etc/passwd",
        "/healthz/../metrics",
        "/metrics/",
        "/METRICS",
        "/api/v1/top;x",
    ];
    for path in paths {
        let (status, _, body) = ask(&running, "GET", path, &[], "");
        let empty = body.parse::<Value>().is_ok_and(|body| body["items"] == json!([]));
        assert!((400..500).contains(&status) || (status == 200 && empty), "{path}: {status} {body}");
        assert!(!body.contains("root:") && !body.contains("berth_"), "{path}: {body}");
    }
    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: ../../evil, namespace: ../../evil}}";
    let body = json!({"sources": [{"name": "../../../../etc/passwd", "text": manifest}]}).to_string();
    let (status, _, answer) = ask(&running, "POST", "/api/v1/apply", &[JSON], &body);
    assert!(status == 422 && !answer.contains("root:"), "{answer}");
}
