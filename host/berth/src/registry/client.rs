//! Requests to one repository, by the OCI distribution specification 1.1.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use berth_api::issue::plain;
use serde_json::Value;
use ureq::http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, ResponseExt, Timeout};

use super::agent;
use super::artifact::{Artifact, Descriptor, MANIFEST};
use super::digest::Digest;
use super::login::{self, Challenge, Login};
use super::reference::Reference;
use crate::fail::hinted;

/// What may be there under a tag, so that what is no policy is refused with what it is.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// Bytes of a manifest: as many as registries are asked to take.
const LARGEST_MANIFEST: u64 = 4 << 20;
/// Bytes of anything else that is not a blob: errors and tokens.
const LARGEST_ANSWER: u64 = 256 << 10;
/// How much longer than it may say nothing a registry may take for one request in all.
pub(super) const WHOLE: u32 = 20;

/// How to speak to a registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Without TLS; by default with a registry on this machine alone.
    pub(crate) plain_http: Option<bool>,
    /// How long it may say nothing.
    pub(crate) timeout: Duration,
}

/// Speaks to the repository of one reference.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    agent: Agent,
    reference: &'a Reference,
    /// Where the registry's API is: `http` or `https`, `://`, host and port.
    api: String,
    secure: bool,
    timeout: Duration,
    /// What the last challenge was answered with.
    authorization: Option<Authorization>,
}

struct Authorization {
    /// The value of the header.
    header: String,
    /// Whether it stands for somebody.
    login: bool,
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization(..)")
    }
}

#[derive(Clone, Copy)]
struct Ask<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [(&'a str, &'a str)],
    /// `None` for a method that has none.
    body: Option<&'a [u8]>,
}

impl<'a> Client<'a> {
    /// # Errors
    /// If this machine has no certificates to know a registry by.
    pub(crate) fn new(reference: &'a Reference, settings: Settings) -> anyhow::Result<Self> {
        let secure = !settings.plain_http.unwrap_or(reference.is_loopback());
        let agent = agent::new(reference, settings, secure)?;
        let api = format!("{}://{}", if secure { "https" } else { "http" }, reference.host());
        Ok(Self { agent, reference, api, secure, timeout: settings.timeout, authorization: None })
    }

    /// The manifest that the reference names, and its digest.
    ///
    /// # Errors
    /// If there is none, or its digest is not the one that the reference has, or the registry says.
    pub(crate) fn manifest(&mut self) -> anyhow::Result<(Vec<u8>, Digest)> {
        let reference = self.reference;
        let which = reference.digest().map(Digest::as_str).or(reference.tag()).unwrap_or_default();
        let url = self.url("manifests", which);
        let ask = Ask { method: "GET", url: &url, headers: &[("accept", MANIFESTS)], body: None };
        let mut response = self.send(&ask)?;
        if response.status() == StatusCode::NOT_FOUND {
            let hint = "check repository and tag; a registry may also hide what it does not let everybody see";
            bail!(hinted(format!("there is no {reference}"), hint));
        }
        self.expect(&mut response, &[StatusCode::OK], "asked for the manifest")?;
        let said = response.headers().get("docker-content-digest").and_then(|digest| digest.to_str().ok());
        let said = said.map(str::to_owned);
        let bytes = self.read(&mut response, LARGEST_MANIFEST, "the manifest")?;
        let digest = Digest::of(&bytes);
        let wanted = reference.digest().map(Digest::as_str).or(said.as_deref()).unwrap_or(digest.as_str());
        if digest.as_str() != wanted {
            let what = format!("the manifest of {reference} is not the one of its digest");
            return Err(anyhow!("its digest is {digest}, and {} is wanted", plain(wanted)).context(altered(what)));
        }
        Ok((bytes, digest))
    }

    /// The blob that a manifest describes, of at most `limit` bytes.
    ///
    /// # Errors
    /// If it is not there, or not what the manifest says.
    pub(crate) fn blob(&mut self, blob: &Descriptor, limit: u64) -> anyhow::Result<Vec<u8>> {
        let reference = self.reference;
        if blob.size > limit {
            let what = format!("{reference} has {} bytes, and a policy has at most {limit}", blob.size);
            bail!(hinted(what, "check that it is a policy"));
        }
        let url = self.url("blobs", blob.digest.as_str());
        let mut response = self.send(&Ask { method: "GET", url: &url, headers: &[], body: None })?;
        self.expect(&mut response, &[StatusCode::OK], "asked for the component")?;
        // One more, to tell that there are too many.
        let bytes = self.read(&mut response, blob.size + 1, "the component")?;
        let found = Digest::of(&bytes);
        if bytes.len() as u64 != blob.size || found != blob.digest {
            let what = format!("the component of {reference} is not the one of its digest");
            let (had, wanted) = ((found, bytes.len()), (&blob.digest, blob.size));
            let why = format!("{} has {} bytes, and {} of {} bytes is wanted", had.0, had.1, wanted.0, wanted.1);
            return Err(anyhow!(why).context(altered(what)));
        }
        Ok(bytes)
    }

    /// Pushes an artifact under the reference's tag: what the manifest names first, so that no manifest names what is not there.
    ///
    /// # Errors
    /// If the registry does not take it.
    pub(crate) fn push(&mut self, artifact: &Artifact) -> anyhow::Result<()> {
        self.push_blob(&artifact.component, "the component")?;
        self.push_blob(&artifact.config, "the configuration")?;
        let url = self.url("manifests", self.reference.tag().unwrap_or_default());
        let headers = [("content-type", MANIFEST)];
        let put = Ask { method: "PUT", url: &url, headers: &headers, body: Some(&artifact.manifest) };
        let mut response = self.send(&put)?;
        self.expect(&mut response, &[StatusCode::CREATED], "given the manifest")?;
        match response.headers().get("docker-content-digest") {
            Some(said) if said.as_bytes() != artifact.digest.as_str().as_bytes() => {
                let what = format!("{} took another manifest than it was given", self.reference.registry());
                Err(hinted(what, "do not use what is there; tell whoever keeps the registry").into())
            }
            _ => Ok(()),
        }
    }

    fn push_blob(&mut self, bytes: &[u8], what: &str) -> anyhow::Result<()> {
        let digest = Digest::of(bytes);
        let url = self.url("blobs", digest.as_str());
        let mut response = self.send(&Ask { method: "HEAD", url: &url, headers: &[], body: None })?;
        if response.status() == StatusCode::OK {
            return Ok(());
        }
        self.expect(&mut response, &[StatusCode::NOT_FOUND], &format!("asked for {what}"))?;
        let url = self.url("blobs", "uploads/");
        let mut response = self.send(&Ask { method: "POST", url: &url, headers: &[], body: Some(&[]) })?;
        self.expect(&mut response, &[StatusCode::ACCEPTED], &format!("asked to take {what}"))?;
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let place = match location {
            Some(path) if path.starts_with('/') && !path.starts_with("//") => format!("{}{path}", self.api),
            Some(whole) if whole.starts_with("https://") || whole.starts_with("http://") => whole.to_owned(),
            _ => bail!("{} does not say where to upload {what}", self.reference.registry()),
        };
        let url = format!("{place}{}digest={}", if place.contains('?') { '&' } else { '?' }, digest);
        let headers = [("content-type", "application/octet-stream")];
        let mut response = self.send(&Ask { method: "PUT", url: &url, headers: &headers, body: Some(bytes) })?;
        self.expect(&mut response, &[StatusCode::CREATED], &format!("given {what}"))
    }

    fn url(&self, what: &str, which: &str) -> String {
        format!("{}/v2/{}/{what}/{which}", self.api, self.reference.repository())
    }

    /// Sends it, and once more where the registry says how to be let in.
    fn send(&mut self, ask: &Ask<'_>) -> anyhow::Result<Response<Body>> {
        let response = self.send_once(ask)?;
        // Whoever was redirected to asks for nothing: no login is for them.
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_ours(response.get_uri()) {
            return Ok(response);
        }
        let challenges = challenges(response.headers());
        let login = login::find(self.reference.registry())?;
        match self.answer(&challenges, login.as_ref())? {
            Some(header) => self.authorization = Some(Authorization { header, login: login.is_some() }),
            None => return Err(self.not_let_in(login.is_some())),
        }
        let response = self.send_once(ask)?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.not_let_in(login.is_some())),
            _ => Ok(response),
        }
    }

    fn send_once(&self, ask: &Ask<'_>) -> anyhow::Result<Response<Body>> {
        let uri: Uri = ask.url.parse().with_context(|| format!("{:?} is no address", plain(ask.url)))?;
        let mut request = Request::builder().method(ask.method).uri(&uri);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        // An upload may go elsewhere, and that place knows the upload by its address.
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_ours(&uri)) {
            request = request.header(header::AUTHORIZATION, &authorization.header);
        }
        let sent = match ask.body {
            Some(body) => self.agent.run(request.body(body)?),
            None => self.agent.run(request.body(())?),
        };
        sent.map_err(|error| self.unreachable(error))
    }

    fn is_ours(&self, uri: &Uri) -> bool {
        let api: Option<Uri> = self.api.parse().ok();
        api.is_some_and(|api| origin(&api) == origin(uri))
    }

    /// What to show the registry; `None` where it wants a login and there is none, or only one of another kind.
    fn answer(&self, challenges: &[Challenge], login: Option<&Login>) -> anyhow::Result<Option<String>> {
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            return self.token(bearer, login).map(Some);
        }
        let basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
        Ok(login.filter(|_| basic).and_then(Login::basic))
    }

    /// A token of the service that a challenge names, with the login where there is one: as
    /// <https://distribution.github.io/distribution/spec/auth/token/> and `oauth` beside it have it.
    fn token(&self, bearer: &Challenge, login: Option<&Login>) -> anyhow::Result<String> {
        let registry = self.reference.registry();
        let realm = bearer.parameter("realm").unwrap_or_default();
        if !(realm.starts_with("https://") || !self.secure && realm.starts_with("http://")) {
            bail!(hinted(format!("{registry} names no token service with TLS"), "tell whoever keeps the registry"));
        }
        let fields = ["service", "scope"].into_iter().filter_map(|name| Some((name, bearer.parameter(name)?)));
        let sent = match login {
            Some(Login::Identity(token)) => {
                let grant = [("grant_type", "refresh_token"), ("client_id", "berth"), ("refresh_token", token)];
                self.agent.post(realm).send_form(fields.chain(grant))
            }
            _ => {
                let request = self.agent.get(realm).query_pairs(fields);
                match login.and_then(Login::basic) {
                    Some(basic) => request.header(header::AUTHORIZATION, basic).call(),
                    None => request.call(),
                }
            }
        };
        let mut response = sent.map_err(|error| self.unreachable(error))?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) {
            return Err(self.not_let_in(login.is_some()));
        }
        self.expect(&mut response, &[StatusCode::OK], "asked for a token")?;
        let answer = self.read(&mut response, LARGEST_ANSWER, "the token")?;
        // No error of the parser: it may show what it found.
        let answer: Option<Value> = serde_json::from_slice(&answer).ok();
        let token = |name: &str| answer.as_ref()?.get(name)?.as_str().filter(|token| !token.is_empty());
        match token("token").or_else(|| token("access_token")) {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(hinted(format!("the token service of {registry} gives no token"), "").into()),
        }
    }

    fn not_let_in(&self, login: bool) -> anyhow::Error {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        if login {
            let hint = format!("log in as somebody who may: docker login {registry}");
            hinted(format!("{registry} does not let this login do that with {repository}"), hint).into()
        } else {
            let hint = format!(
                "docker login {registry}; logins are taken from DOCKER_CONFIG/config.json, or ~/.docker/config.json"
            );
            hinted(format!("{registry} wants a login for {repository}"), hint).into()
        }
    }

    /// # Errors
    /// If the answer is none of these, with what the registry says about it.
    fn expect(&self, response: &mut Response<Body>, good: &[StatusCode], when: &str) -> anyhow::Result<()> {
        let status = response.status();
        if good.contains(&status) {
            return Ok(());
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && self.is_ours(response.get_uri()) {
            return Err(self.not_let_in(self.authorization.as_ref().is_some_and(|shown| shown.login)));
        }
        let what = format!("{} answers {status} when it is {when}", self.reference.registry());
        let said = self.read(response, LARGEST_ANSWER, "its answer").ok().and_then(|bytes| errors(&bytes));
        let hint = match status {
            StatusCode::TOO_MANY_REQUESTS => "wait, or log in: registries let those do more",
            status if status.is_server_error() => "try again later",
            _ => "check that it is a registry, and the reference",
        };
        let error = hinted(what, hint);
        Err(match said {
            Some(said) => anyhow!(said).context(error),
            None => error.into(),
        })
    }

    fn read(&self, response: &mut Response<Body>, limit: u64, what: &str) -> anyhow::Result<Vec<u8>> {
        let read = response.body_mut().with_config().limit(limit).read_to_vec();
        read.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => {
                let what = format!("{what} of {} has more than {limit} bytes", self.reference);
                hinted(what, "check the reference").into()
            }
            error => self.unreachable(error),
        })
    }

    fn unreachable(&self, error: ureq::Error) -> anyhow::Error {
        let registry = self.reference.registry();
        let tls = agent::tls_error(&error);
        let hint = match tls {
            Some(rustls::Error::InvalidCertificate(_)) => {
                "SSL_CERT_FILE names a file of certificates to trust, instead of those of this machine"
            }
            Some(rustls::Error::InvalidMessage(_)) => "if it has no TLS: --plain-http",
            _ if self.reference.is_loopback() => "check the port, and that it runs",
            _ => "check the reference, and the way there; HTTPS_PROXY names a proxy",
        };
        let (what, cause) = match &error {
            ureq::Error::Timeout(Timeout::Global) => {
                (format!("{registry} is not done within {} s", (self.timeout * WHOLE).as_secs()), false)
            }
            ureq::Error::Timeout(_) => (format!("{registry} says nothing for {} s", self.timeout.as_secs_f32()), false),
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                (format!("no registry answers at {registry}"), false)
            }
            // Its address may hold a key to what is there.
            ureq::Error::RequireHttpsOnly(_) => (format!("{registry} sends to a place without TLS"), false),
            ureq::Error::HostNotFound => (format!("{registry} is not known by that name"), false),
            _ => (format!("{registry} cannot be asked"), true),
        };
        if cause { anyhow!(error).context(hinted(what, hint)) } else { hinted(what, hint).into() }
    }
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

fn altered(what: String) -> crate::fail::Hinted {
    hinted(what, "nothing is written; tell whoever keeps the registry that it was altered there, or on the way")
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let offers = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|offer| offer.to_str().ok());
    offers.flat_map(Challenge::parse).collect()
}

/// What a registry says went wrong, as the specification has it.
fn errors(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let one = |error: &Value| {
        let code = error["code"].as_str()?;
        Some(format!("{code}: {}", error["message"].as_str().unwrap_or_default()))
    };
    let all: Vec<String> = body["errors"].as_array()?.iter().filter_map(one).collect();
    (!all.is_empty()).then(|| plain(&all.join("; ")).into_owned())
}
