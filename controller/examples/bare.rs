#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_env_filter("info,controller=debug").init();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::infer().await.unwrap();
    let c = controller::Config { metrics_server: "http://127.0.0.1:9090".parse().unwrap(), metrics_credentials: None, namespace: None, listen: "127.0.0.1:18080".parse().unwrap() };
    controller::run(config, c, async { tokio::signal::ctrl_c().await.unwrap() }).await.unwrap();
}
