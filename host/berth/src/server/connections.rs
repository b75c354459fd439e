//! Connections: how many there may be, in all and from one address, and how long each may take to say what it wants and to
//! take its answer.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::limits::Limits;
use super::rate::Peer;
use super::send::SendLimit;

/// What a connection is told that finds no place. It is not read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    retry-after: 1\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n\
    connection: close\r\ncontent-length: 89\r\n\r\n\
    {\"code\":\"Busy\",\"message\":\"too many connections are open\",\"hint\":\"try again\",\"details\":[]}";

/// Serves connections until `stop` says so, and then those requests that are under way.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: &Limits, stop: watch::Receiver<bool>) {
    let seats = Seats::new(limits);
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped(stop.clone()));
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let peer = Peer::from(address.ip());
                    match seats.take(peer) {
                        Some(seat) => {
                            let (router, limits, stop) = (router.clone(), limits.clone(), stop.clone());
                            connections.spawn(async move {
                                connection(stream, peer, router, &limits, stop).await;
                                drop(seat);
                            });
                        }
                        // As much as the socket takes at once; a client that is not there for it is no concern.
                        None => drop(stream.writable().await.and_then(|()| stream.try_write(FULL))),
                    }
                }
                // Some connections fail before they are taken; without files to be had, others must close first.
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Without a sender there is nobody left to serve for.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, limits: &Limits, stop: watch::Receiver<bool>) {
    // It costs a delay, no more, where that cannot be set.
    drop(stream.set_nodelay(true));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let stream = TokioIo::new(SendLimit::new(stream, limits.send_timeout));
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_headers(limits.max_headers.get())
            .max_header_size(limits.max_head)
            .serve_connection(stream, service)
    );
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stopped(stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    // Clients that go away, are too slow or speak no HTTP are usual; nothing that they sent is in the error.
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Who is connected.
#[derive(Debug)]
struct Seats {
    taken: Arc<Mutex<BTreeMap<Peer, usize>>>,
    most: usize,
    most_per_peer: usize,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
struct Seat {
    taken: Arc<Mutex<BTreeMap<Peer, usize>>>,
    peer: Peer,
}

impl Seats {
    fn new(limits: &Limits) -> Self {
        Self {
            taken: Arc::default(),
            most: limits.max_connections.get(),
            most_per_peer: limits.max_connections_per_peer.get(),
        }
    }

    fn take(&self, peer: Peer) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let of_peer = taken.entry(peer).or_default();
        if all >= self.most || *of_peer >= self.most_per_peer {
            taken.retain(|_, count| *count > 0);
            return None;
        }
        *of_peer += 1;
        Some(Seat { taken: self.taken.clone(), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}
