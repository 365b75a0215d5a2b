use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use tokio::time::{Instant, sleep};

/// Asks again and again until `probe` has an answer; after `limit` it is an error that says what was waited for
/// and what stood in the way last. A probe's own error doesn't end the wait.
pub async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    let mut last: Option<Error> = None;
    loop {
        match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() >= end {
            let waited = format!("waited {limit:?} for {what}");
            return Err(last.map_or_else(|| anyhow!(waited.clone()), |e| e.context(waited.clone())));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_there_is_an_answer() {
        let mut asked = 0;
        let answer = wait_for("three", Duration::from_secs(1), async || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(answer.await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_in_vain_names_what_it_waited_for_and_the_last_obstacle() {
        let answer =
            wait_for::<()>("snow", Duration::from_secs(1), async || Err(anyhow!("too warm")));
        let error = format!("{:#}", answer.await.unwrap_err());
        assert_eq!(error, "waited 1s for snow: too warm");
    }
}
