use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::{fs, process};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::Response;
use futures::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;
use crate::metrics::contract::{self, PATIENCE, Scene, at, query};

/// A server on loopback that plays its scenes one after the other, the last one for ever.
struct Stage {
    address: SocketAddr,
    scenes: Mutex<VecDeque<Scene>>,
    /// Path, headers and body of each request.
    seen: Mutex<Vec<(String, axum::http::HeaderMap, String)>>,
}

impl Stage {
    async fn open(scenes: &[Scene]) -> Arc<Self> {
        // Twice is an error, and fine: tests share a process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stage = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            scenes: Mutex::new(scenes.iter().copied().collect()),
            seen: Mutex::default(),
        });
        let app = Router::new().fallback(play).with_state(stage.clone());
        match scenes {
            [Scene::NobodyThere] => drop(listener),
            [Scene::Close] => drop(tokio::spawn(async move {
                while let Ok((mut connection, _)) = listener.accept().await {
                    // Unread bytes would make it a reset, which is another error.
                    let _ = connection.read(&mut [0; 4096]).await;
                }
            })),
            _ => drop(tokio::spawn(async move { axum::serve(listener, app).await })),
        }
        stage
    }

    fn source(&self) -> Prometheus {
        self.source_at("", None)
    }

    fn source_at(&self, path: &str, credentials: Option<&Path>) -> Prometheus {
        configured(&format!("http://{}{path}", self.address), credentials)
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        let (_, headers, _) = seen.last().unwrap();
        headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

fn configured(url: &str, credentials: Option<&Path>) -> Prometheus {
    let credentials = credentials.map(Path::to_owned);
    Prometheus::new(PrometheusConfig { url: url.parse().unwrap(), timeout: PATIENCE, credentials })
        .unwrap()
}

async fn play(State(stage): State<Arc<Stage>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    stage.seen.lock().unwrap().push((head.uri.path().to_owned(), head.headers, body));
    let scene = {
        let mut scenes = stage.scenes.lock().unwrap();
        if scenes.len() > 1 { scenes.pop_front().unwrap() } else { scenes[0] }
    };
    let vector = |samples: &[&str]| {
        let series: Vec<_> = samples
            .iter()
            .enumerate()
            .map(|(n, value)| format!(r#"{{"metric":{{"pod":"{n}"}},"value":[1.5,"{value}"]}}"#))
            .collect();
        result("vector", &format!("[{}]", series.join(",")))
    };
    match scene {
        Scene::OneValue => vector(&["42.5"]),
        Scene::Scalar => result("scalar", r#"[1.5,"42.5"]"#),
        Scene::NotANumber => vector(&["NaN"]),
        Scene::Infinite => vector(&["+Inf"]),
        Scene::NoSeries => vector(&[]),
        Scene::TwoSeries => vector(&["1", "2"]),
        Scene::Range => result("matrix", r#"[{"metric":{},"values":[[1.5,"1"],[2.5,"2"]]}]"#),
        Scene::Text => result("string", r#"[1.5,"hello"]"#),
        Scene::BadQuery => json(422, error("execution", "multiple matches\\nfor labels")),
        Scene::Unauthorized => html(401),
        Scene::NotFound => html(404),
        Scene::Redirect => Response::builder()
            .status(302)
            .header(LOCATION, "/login?secret=1")
            .body(Body::empty())
            .unwrap(),
        Scene::Html => html(200),
        Scene::OtherJson => json(200, r#"{"status":"green"}"#.to_owned()),
        Scene::Endless => endless(),
        Scene::ServerError => json(503, error("timeout", "query timed out")),
        Scene::TooMany => html(429),
        Scene::Hang => std::future::pending().await,
        Scene::Close | Scene::NobodyThere => unreachable!("there is no server in {scene:?}"),
    }
}

fn result(kind: &str, result: &str) -> Response {
    let data = format!(r#"{{"resultType":"{kind}","result":{result}}}"#);
    json(200, format!(r#"{{"status":"success","data":{data},"infos":["a hint"]}}"#))
}

fn error(kind: &str, message: &str) -> String {
    format!(r#"{{"status":"error","errorType":"{kind}","error":"{message}"}}"#)
}

fn json(status: u16, body: String) -> Response {
    respond(status, "application/json", Body::from(body))
}

fn html(status: u16) -> Response {
    respond(status, "text/html; charset=utf-8", Body::from("<html>hello</html>"))
}

fn endless() -> Response {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = futures::stream::repeat(chunk).map(Ok::<_, std::io::Error>);
    respond(200, "application/json", Body::from_stream(chunks))
}

fn respond(status: u16, kind: &str, body: Body) -> Response {
    Response::builder().status(status).header(CONTENT_TYPE, kind).body(body).unwrap()
}

#[tokio::test]
async fn prometheus_keeps_the_contract() {
    contract::metric_source(async |scene| {
        let stage = Stage::open(&[scene]).await;
        let mut source = stage.source();
        if scene == Scene::Hang {
            source.timeout = Duration::from_millis(200);
        }
        source
    })
    .await;
}

#[tokio::test]
async fn errors_show_what_happened_and_the_way_out() {
    let mut told = Vec::new();
    for scene in Scene::ALL {
        let stage = Stage::open(&[scene]).await;
        let mut source = configured(&format!("http://me:s3cret@{}/prom/", stage.address), None);
        source.timeout = if scene == Scene::Hang { Duration::from_secs(1) } else { PATIENCE };
        if let Err(error) = source.value(&query(), at()).await {
            told.push(format!(
                "{scene:?}: {}",
                error.to_string().replace(&stage.address.to_string(), "HOST")
            ));
        }
    }
    assert_eq!(
        told,
        [
            "TwoSeries: query returned 2 series, need 1; wrap it in `sum(...)`",
            "Range: query returned a range of samples, need one value; wrap it in \
             `sum(rate(...))` or remove the range",
            "Text: query returned something other than numbers, need one value; write a query \
             that yields one number",
            "BadQuery: http://HOST/prom answered 422: multiple matches for labels; correct the \
             query",
            "Unauthorized: http://HOST/prom answered 401; check the credentials",
            "NotFound: http://HOST/prom answered 404; is it Prometheus' address, path prefix \
             included?",
            "Redirect: http://HOST/prom answered 302; redirects are not followed, give the \
             address that it points to",
            "Html: http://HOST/prom answered with text/html; charset=utf-8 where Prometheus \
             answers with JSON; is it Prometheus' address, path prefix included?",
            "OtherJson: http://HOST/prom answered with application/json where Prometheus answers \
             with JSON; is it Prometheus' address, path prefix included?",
            "Endless: query returned more than 1 MiB of series, need one value; wrap it in \
             `sum(...)`",
            "ServerError: http://HOST/prom answered 503: query timed out; its own log says more",
            "TooMany: http://HOST/prom answered 429; its own log says more",
            "Hang: no answer from http://HOST/prom within 1 s; may the controller reach it, is it \
             overloaded, or the query too expensive?",
            "Close: http://HOST/prom broke off its answer (connection closed before message \
             completed)",
            "NobodyThere: no connection to http://HOST/prom (Connection refused (os error 111)); \
             is the address right, and may the controller reach it?",
        ]
    );
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_nothing_else() {
    for (scenes, answer, requests) in [
        (&[Scene::ServerError, Scene::OneValue][..], Some(42.5), 2),
        (&[Scene::ServerError, Scene::TooMany, Scene::OneValue], Some(42.5), 3),
        (&[Scene::ServerError], None, 3),
        (&[Scene::BadQuery, Scene::OneValue], None, 1),
        (&[Scene::Html, Scene::OneValue], None, 1),
        (&[Scene::NoSeries, Scene::OneValue], None, 1),
    ] {
        let stage = Stage::open(scenes).await;
        let got = stage.source().value(&query(), at()).await.ok().flatten();
        assert_eq!((got, stage.requests()), (answer, requests), "{scenes:?}");
    }
}

#[tokio::test]
async fn the_question_arrives_whole() {
    let stage = Stage::open(&[Scene::OneValue]).await;
    for path in ["", "/", "/prom", "/prom/"] {
        stage.source_at(path, None).value(&query(), at()).await.unwrap();
    }
    let seen = stage.seen.lock().unwrap();
    let paths: Vec<_> = seen.iter().map(|(path, _, _)| path.as_str()).collect();
    let (bare, prefixed) = ("/api/v1/query", "/prom/api/v1/query");
    assert_eq!(paths, [bare, bare, prefixed, prefixed]);
    assert_eq!(seen[0].2, "query=sum%28up%29&time=1700000000.250&timeout=5000ms");
}

#[tokio::test]
async fn credentials_are_sent_and_read_again_when_they_change() {
    let stage = Stage::open(&[Scene::OneValue]).await;
    let directory = std::env::temp_dir().join(format!("tidegate-{}-rotation", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, value: &str| fs::write(directory.join(name), value).unwrap();
    let source = stage.source_at("", Some(&directory));

    source.value(&query(), at()).await.unwrap();
    assert_eq!(stage.header("authorization"), None);

    write("token", "first\n");
    write("header.X-Scope-OrgID", "shop");
    source.value(&query(), at()).await.unwrap();
    assert_eq!(stage.header("authorization").as_deref(), Some("Bearer first"));
    assert_eq!(stage.header("x-scope-orgid").as_deref(), Some("shop"));

    write("token", "second\n");
    source.value(&query(), at()).await.unwrap();
    assert_eq!(stage.header("authorization").as_deref(), Some("Bearer second"));

    fs::remove_file(directory.join("token")).unwrap();
    write("username", "me");
    write("password", "a:b@c");
    source.value(&query(), at()).await.unwrap();
    assert_eq!(stage.header("authorization").as_deref(), Some("Basic bWU6YTpiQGM="));

    write("token", "third");
    let error = source.value(&query(), at()).await.unwrap_err();
    assert!(matches!(error, MetricError::Credentials(CredentialsError::Both { .. })), "{error}");
    fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn the_url_may_hold_a_user_whom_the_secret_outranks() {
    let stage = Stage::open(&[Scene::OneValue]).await;
    let url = format!("http://me:p%40ss@{}", stage.address);
    configured(&url, None).value(&query(), at()).await.unwrap();
    assert_eq!(stage.header("authorization").as_deref(), Some("Basic bWU6cEBzcw=="));

    let directory = std::env::temp_dir().join(format!("tidegate-{}-outranks", process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("token"), "t").unwrap();
    configured(&url, Some(&directory)).value(&query(), at()).await.unwrap();
    assert_eq!(stage.header("authorization").as_deref(), Some("Bearer t"));
    fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_none_is_named() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = std::env::temp_dir().join(format!("tidegate-{}-ca", process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("ca.crt"), "hello").unwrap();
    let source = configured("https://127.0.0.1:1", Some(&directory));
    let error = source.value(&query(), at()).await.unwrap_err();
    assert!(error.to_string().ends_with("ca.crt: there is no certificate in it; PEM is needed"));
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn nothing_shows_a_password() {
    let source = configured("https://me:s3cret@prometheus:9090/prom", None);
    assert_eq!(format!("{source:?}"), "Prometheus { url: \"https://prometheus:9090/prom\", .. }");
    let config = PrometheusConfig {
        url: "https://me:s3cret@prometheus:9090".parse().unwrap(),
        timeout: PATIENCE,
        credentials: None,
    };
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn an_address_that_cannot_be_prometheus_is_refused() {
    #[track_caller]
    fn refused(url: &str, message: &str) {
        let url = url.parse().unwrap();
        let config = PrometheusConfig { url, timeout: PATIENCE, credentials: None };
        assert_eq!(Prometheus::new(config).unwrap_err().to_string(), message);
    }
    refused(
        "ftp://me:s3cret@prometheus",
        "metrics server ftp://prometheus/: scheme is `ftp`, need `http` or `https`",
    );
    refused(
        "prometheus:9090",
        "metrics server prometheus:9090: scheme is `prometheus`, need `http` or `https`",
    );
    refused(
        "http://prometheus:9090/?token=s3cret",
        "metrics server http://prometheus:9090/: has a query or a fragment; give the address alone",
    );
}

#[tokio::test]
async fn all_queries_of_a_check_are_read_in_order() {
    use analysis::{Arm, Reading, Subject};

    let stage = Stage::open(&[Scene::OneValue]).await;
    let queries: Vec<Query> = (0..20)
        .map(|n| Query { subject: Subject::Metric(n.to_string()), ..query() })
        .chain([Query { arm: Arm::Stable, ..query() }])
        .collect();
    let source = stage.source();
    let reading = crate::metrics::read(&source, queries.clone(), at());
    // A controller's task may move between threads while it waits.
    let readings = sent(reading).await;
    let read: Vec<_> = readings.iter().cloned().collect();
    let expected: Vec<_> = queries.into_iter().map(|query| (query, Reading::Value(42.5))).collect();
    assert_eq!(read, expected);
}

fn sent<F: Future + Send>(future: F) -> F {
    future
}
