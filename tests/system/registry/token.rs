//! The token service of a registry: asks who it is, and signs what they may do, in a form that the registry checks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};

use super::program::{PASSWORD, USER};

/// An identity token, as `docker login` gets it from some registries.
pub(super) const REFRESH: &str = "canary-refresh-token-e2f0";
/// In every token that is given.
pub(super) const MARK: &str = "canary-subject-08aa";
const SERVICE: &str = "the registry";
const ISSUER: &str = "the token service";

/// What was asked of it: who, and for what.
pub(super) type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Starts it; it ends with the test. Returns the lines of a registry's configuration by which it is used, made in the
/// registry's folder.
pub(super) fn start() -> (impl FnOnce(&Path) -> String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    let number = |bytes: Option<&p256::FieldBytes>| Base64UrlUnpadded::encode_string(bytes.unwrap());
    let public = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one",
        "x": number(point.x()), "y": number(point.y())});
    let asked = Asked::default();
    let kept = asked.clone();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap(), &key, &kept)));
    let lines = move |folder: &Path| {
        let jwks = folder.join("jwks.json");
        std::fs::write(&jwks, json!({"keys": [public]}).to_string()).unwrap();
        let jwks = jwks.display();
        format!("auth: {{token: {{realm: '{realm}', service: {SERVICE}, issuer: {ISSUER}, jwks: '{jwks}'}}}}")
    };
    (lines, asked)
}

fn serve(mut stream: TcpStream, key: &SigningKey, asked: &Asked) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return;
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        let named = |line: &&String| line.to_lowercase().starts_with(&format!("{name}: "));
        lines.iter().find(named).map(|line| line[name.len() + 2..].to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let query = if lines[0].starts_with("POST ") {
        String::from_utf8(body).unwrap()
    } else {
        lines[0].split(['?', ' ']).nth(2).unwrap_or_default().to_owned()
    };
    let fields: Vec<(String, String)> = query.split('&').filter_map(field).collect();
    let get = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let (service, scope) = (get("service"), get("scope"));
    let basic = format!("Basic {}", Base64::encode_string(format!("{USER}:{PASSWORD}").as_bytes()));
    let who = match (header("authorization"), get("refresh_token")) {
        (None, "") => "anybody",
        (Some(login), "") if login == basic => "user",
        (None, REFRESH) if get("grant_type") == "refresh_token" => "identity",
        _ => "nobody",
    };
    asked.lock().unwrap().push((who.to_owned(), scope.to_owned()));
    let answer = if who == "nobody" || service != SERVICE {
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
    } else {
        // Anybody may pull.
        let actions = |actions: &str| {
            let all = actions.split(',').filter(|action| who != "anybody" || *action == "pull");
            all.map(str::to_owned).collect::<Vec<_>>()
        };
        let access = |scope: &str| {
            let mut parts = scope.splitn(3, ':');
            let mut next = || parts.next().unwrap_or_default();
            let (kind, name) = (next(), next());
            json!({"type": kind, "name": name, "actions": actions(next())})
        };
        let access: Vec<Value> = scope.split(' ').filter(|scope| !scope.is_empty()).map(access).collect();
        // Services differ in what they call it.
        let name = if who == "identity" { "access_token" } else { "token" };
        let body = json!({name: token(key, &access)}).to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    stream.write_all(answer.as_bytes()).unwrap();
}

/// A field of a form, decoded.
fn field(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => u8::from_str_radix(&String::from_utf8(rest.by_ref().take(2).collect()).ok()?, 16).ok()?,
            other => other,
        });
    }
    Some((key.to_owned(), String::from_utf8(bytes).ok()?))
}

/// A JSON Web Token (RFC 7519) with what it allows.
fn token(key: &SigningKey, access: &[Value]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let head = json!({"typ": "JWT", "alg": "ES256", "kid": "one"});
    let claims = json!({"iss": ISSUER, "sub": MARK, "aud": SERVICE, "jti": "one", "access": access,
        "iat": now - 10, "nbf": now - 10, "exp": now + 300});
    let [head, claims] = [head, claims].map(|part| Base64UrlUnpadded::encode_string(part.to_string().as_bytes()));
    let signature: Signature = key.sign(format!("{head}.{claims}").as_bytes());
    format!("{head}.{claims}.{}", Base64UrlUnpadded::encode_string(&signature.to_bytes()))
}
