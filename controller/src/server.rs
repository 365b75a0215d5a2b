use std::sync::Arc;
pub(crate) async fn serve(_: std::net::SocketAddr, _: Arc<crate::metrics::Metrics>, _: Arc<std::sync::atomic::AtomicBool>, _: impl Future<Output = ()>) -> std::io::Result<()> { futures::future::pending().await }
