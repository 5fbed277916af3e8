//! `GET /metrics` over HTTP/1.1.
//!
//! Every request gets the newest snapshot, or the answer that there is none; nothing waits for the
//! collector, and the collector waits for no client. A client costs bounded memory and time: at most [`CLIENTS`] at once,
//! a limited head, a limited time to send it and to take the answer; a request's body is not read.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::model::Snapshot;

/// Connections served at once, in all and of one address. A new one always finds its place: the oldest of its
/// address, or of the addresses that have most, is ended for it. Who scrapes takes milliseconds; what is old is slow.
const CLIENTS: usize = 64;
const CLIENTS_OF_ONE: usize = 8;

/// Longest head of a request in bytes (hyper's smallest allowed buffer).
const HEAD_BYTES: usize = 8192;

/// Time for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(2);

/// Time for a connection as a whole.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Pause after a failed `accept` (out of descriptors): else the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address cannot be listened on.
    #[error("failed to listen on {address} for metrics")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
}

impl MetricsError {
    /// The remedy, where the operator has one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Listen { source, .. } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => Some("choose another port with `--metrics ADDRESS:PORT`"),
            io::ErrorKind::AddrNotAvailable => {
                Some("`--metrics` takes an address of this machine, such as `127.0.0.1:9464`")
            }
            _ => None,
        }
    }
}

/// What is shown: snapshots of the servers that are observed now, none when none is.
pub trait SnapshotSource: Send + Sync + 'static {
    /// They.
    fn snapshots(&self) -> Vec<Arc<Snapshot>>;
}

impl SnapshotSource for Arc<Snapshot> {
    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        vec![Self::clone(self)]
    }
}

impl SnapshotSource for Vec<Arc<Snapshot>> {
    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.clone()
    }
}

/// A listening server; it answers while [`MetricsServer::run`] is polled.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsServer {
    /// Listens on an address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`MetricsError::Listen`].
    pub async fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let failed = |source| MetricsError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address that it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped; trouble with a client ends that client only.
    pub async fn run<P: SnapshotSource>(self, snapshots: watch::Receiver<P>) -> Infallible {
        let mut clients = Clients::default();
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    let snapshots = snapshots.clone();
                    clients.add(client.ip(), async move {
                        if let Err(error) = serve(stream, snapshots).await {
                            log::debug!("metrics client {client}: {error}");
                        }
                    });
                }
                Err(error) => {
                    log::warn!("failed to accept a metrics client on {}: {error}", self.address);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The connections that are served, oldest first. All end when it is dropped.
#[derive(Default)]
struct Clients {
    tasks: JoinSet<()>,
    open: Vec<(IpAddr, AbortHandle)>,
}

impl Clients {
    /// Serves one more, in place of an old one where there are too many.
    fn add(&mut self, address: IpAddr, client: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|(_, task)| !task.is_finished());
        // the same host, whether or not the socket is of both families
        let address = address.to_canonical();
        if self.of(address) >= CLIENTS_OF_ONE {
            self.end_oldest(address);
        } else if self.open.len() >= CLIENTS
            // Of several that have most, the last one here, which has the oldest: a client with many addresses would otherwise
            // end the one that came just before.
            && let Some(most) = self.open.iter().rev().map(|(of, _)| *of).max_by_key(|of| self.of(*of))
        {
            self.end_oldest(most);
        }
        self.open.push((address, self.tasks.spawn(client)));
    }

    fn of(&self, address: IpAddr) -> usize {
        self.open.iter().filter(|(of, _)| *of == address).count()
    }

    fn end_oldest(&mut self, address: IpAddr) {
        if let Some(at) = self.open.iter().position(|(of, _)| *of == address) {
            let (_, task) = self.open.remove(at);
            task.abort();
        }
    }
}

async fn serve<P: SnapshotSource>(
    stream: TcpStream,
    snapshots: watch::Receiver<P>,
) -> Result<(), hyper::Error> {
    let answers = service_fn(move |request| {
        // the lock of the channel is held for the copy of a few pointers only
        let snapshots = snapshots.borrow().snapshots();
        async move { Ok::<_, Infallible>(answer(&request, snapshots)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answers);
    // a client that takes its answer too slowly is cut off
    timeout(CONNECTION_TIME, connection).await.unwrap_or(Ok(()))
}

fn answer(request: &Request<Incoming>, snapshots: Vec<Arc<Snapshot>>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "only /metrics is here\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match super::encode(snapshots) {
        Ok(text) => {
            let mut response = Response::new(Full::from(text));
            let devices = HeaderValue::from_static(super::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, devices);
            response
        }
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be encoded\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
