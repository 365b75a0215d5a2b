//! `/metrics`, `/healthz` and `/readyz`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why nobody can be answered. The address is named by who asked for it.
#[derive(Debug, thiserror::Error)]
#[error("{way_out}")]
struct BindError {
    way_out: &'static str,
    source: io::Error,
}

/// Answers scrapes and probes until `shutdown` resolves. `ready` is true once all watches have listed; not ready is a 503.
///
/// # Errors
/// When nobody may listen at that address; the error's text says the way out, its source why.
pub(crate) async fn serve(
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await.map_err(unusable)?;
    answer(listener, metrics, ready, shutdown).await
}

async fn answer(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(exposition).with_state(metrics))
        // A runtime that is stuck doesn't answer at all.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness).with_state(ready));
    // No waiting for open connections: an idle one would hold up the end.
    tokio::select! {
        served = axum::serve(listener, router).into_future() => served,
        () = shutdown => Ok(()),
    }
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics.encode())
}

async fn readiness(State(ready): State<Arc<AtomicBool>>) -> (StatusCode, &'static str) {
    if ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watches have not listed everything yet\n")
    }
}

fn unusable(source: io::Error) -> io::Error {
    let way_out = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "something else listens there: stop it, or choose another port with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: choose one that it has, or 0.0.0.0, with --listen"
        }
        io::ErrorKind::PermissionDenied => {
            "this port is not for everybody: choose one from 1024 on with --listen"
        }
        _ => "choose another address with --listen",
    };
    io::Error::new(source.kind(), BindError { way_out, source })
}

#[cfg(test)]
mod tests;
