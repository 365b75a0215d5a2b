//! When to end.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when someone wants it to end: Kubernetes, or Ctrl-C.
pub(crate) fn stop() -> Result<impl Future<Output = ()> + Send + Sync + 'static, std::io::Error> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}
