use std::error::Error;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn scrapes_and_probes_are_answered_until_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    let ready = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = oneshot::channel::<()>();
    let end = async move {
        let _ = stopped.await; // dropped is as good as sent
    };
    let server = tokio::spawn(answer(listener, metrics.clone(), ready.clone(), end));

    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
    let early = ask(address, "/readyz").await;
    assert!(early.starts_with("HTTP/1.1 503 "), "{early}");
    assert!(early.contains("have not listed"), "{early}");
    ready.store(true, Ordering::Relaxed);
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    let scrape = ask(address, "/metrics").await;
    assert!(
        scrape.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{scrape}"
    );
    assert!(scrape.ends_with(&metrics.encode()), "{scrape}");
    assert!(ask(address, "/").await.starts_with("HTTP/1.1 404 "));

    let idle = TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    drop(idle); // it did not hold up the end
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_with_a_way_out() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    let nothing = (Arc::new(Metrics::new()), Arc::new(AtomicBool::new(false)));
    let end = std::future::pending();
    let error = serve(address, nothing.0, nothing.1, end).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("--listen"), "{error}");
    assert!(error.source().is_some_and(|cause| cause.to_string().contains("in use")));
}
