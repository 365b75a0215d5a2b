use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How a Prometheus misbehaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not at all: the real answer.
    None,
    /// Every answer has this code, and Prometheus' own kind of error body.
    Status(u16),
    /// A login page, with code 200, as a proxy in front sends it.
    Html,
    /// No answer, ever.
    Hang,
    /// Success without a series.
    Empty,
    /// Success with bytes that are no JSON.
    Garbage,
    /// Success with one series of this value, whatever was asked: `NaN`, `+Inf`, `0`, a lie.
    Value(String),
    /// Success with two series where one was asked for.
    TwoSeries,
    /// The real answer, so much later.
    Slow(Duration),
}

/// A front of a real Prometheus whose faults are switched while it runs, and which counts the queries.
#[derive(Debug)]
pub struct FaultyPrometheus {
    url: String,
    front: Arc<Front>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Front {
    real: String,
    http: reqwest::Client,
    fault: Mutex<Fault>,
    queries: AtomicU64,
}

impl FaultyPrometheus {
    /// Listens on loopback in front of `real`, without a fault at first.
    pub async fn start(real: &str) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let front = Arc::new(Front {
            real: real.trim_end_matches('/').to_owned(),
            http: reqwest::Client::new(),
            fault: Mutex::new(Fault::None),
            queries: AtomicU64::new(0),
        });
        let router = Router::new().fallback(answer).with_state(front.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the front of Prometheus ended: {error}");
            }
        });
        Ok(Self { url, front, server })
    }

    /// What to give to the controller as Prometheus' address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Misbehaves like this from the next request on.
    pub fn set(&self, fault: Fault) {
        *self.front.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Requests to a query path so far, answered or not.
    pub fn queries(&self) -> u64 {
        self.front.queries.load(Ordering::Relaxed)
    }
}

impl Drop for FaultyPrometheus {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    if request.uri().path().starts_with("/api/v1/query") {
        front.queries.fetch_add(1, Ordering::Relaxed);
    }
    let fault = front.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match fault {
        Fault::None => forward(&front, request).await,
        Fault::Slow(by) => {
            tokio::time::sleep(by).await;
            forward(&front, request).await
        }
        Fault::Hang => std::future::pending().await,
        Fault::Status(code) => {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = json!({"status": "error", "errorType": "internal", "error": "made to fail"});
            (code, [JSON], body.to_string()).into_response()
        }
        Fault::Html => {
            let page = "<!doctype html><html><body><h1>Please log in</h1></body></html>";
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
        }
        Fault::Garbage => ([JSON], "{\"status\":\"succ\u{0}").into_response(),
        Fault::Empty => vector(&[]),
        Fault::Value(value) => vector(&[&value]),
        Fault::TwoSeries => vector(&["1", "2"]),
    }
}

const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");

fn vector(values: &[&str]) -> Response {
    let at = std::time::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64());
    let series = values.iter().enumerate();
    let result: Vec<_> = series
        .map(|(n, value)| json!({"metric": {"series": n.to_string()}, "value": [at, value]}))
        .collect();
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    ([JSON], body.to_string()).into_response()
}

async fn forward(front: &Front, request: Request) -> Response {
    match pass_on(front, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn pass_on(front: &Front, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await?;
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let answer = front
        .http
        .request(parts.method, format!("{}{path}", front.real))
        .headers(headers)
        .body(body)
        .send()
        .await?;
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let mut response = (answer.status(), answer.bytes().await?).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_fault_looks_as_it_does_in_the_wild() -> Result<()> {
        let real = Router::new().fallback(async || ([JSON], "real"));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, real).await });
        let front = FaultyPrometheus::start(&format!("http://{address}/")).await?;

        check(&front, Fault::None, 200, "real").await;
        check(&front, Fault::Slow(Duration::from_millis(1)), 200, "real").await;
        check(&front, Fault::Status(500), 500, "made to fail").await;
        check(&front, Fault::Html, 200, "<!doctype html>").await;
        check(&front, Fault::Empty, 200, "\"result\":[]").await;
        check(&front, Fault::Value("NaN".to_owned()), 200, "\"NaN\"").await;
        check(&front, Fault::TwoSeries, 200, "\"series\":\"1\"").await;
        check(&front, Fault::Garbage, 200, "succ").await;
        assert_eq!(front.queries(), 8);

        front.set(Fault::Hang);
        let asked = reqwest::Client::new()
            .get(format!("{}/api/v1/query?query=up", front.url()))
            .timeout(Duration::from_millis(200));
        assert!(asked.send().await.unwrap_err().is_timeout());
        Ok(())
    }

    async fn check(front: &FaultyPrometheus, fault: Fault, code: u16, contains: &str) {
        front.set(fault.clone());
        let answer = reqwest::get(format!("{}/api/v1/query?query=up", front.url())).await.unwrap();
        assert_eq!(answer.status().as_u16(), code, "{fault:?}");
        let body = answer.text().await.unwrap();
        assert!(body.contains(contains), "{fault:?}: {body}");
    }
}
