use std::sync::Arc;
pub(crate) struct Metrics {}
impl Metrics {
    pub(crate) fn new() -> Self { Self {} }
    pub(crate) fn observe(&self, _: &str, _: &str, _: &api::CanaryStatus) {}
    pub(crate) fn check(&self, _: &str, _: &str, _: &analysis::Verdict) {}
    pub(crate) fn reason(&self, _: &str, _: &str, _: &'static str) {}
    pub(crate) fn ended(&self, _: &str, _: &str, _: &str, _: &str, _: f64) {}
    pub(crate) fn forget(&self, _: &str, _: &str) {}
    pub(crate) fn reconciled(&self, _: f64, _: bool) {}
}
pub(crate) async fn client(config: kube::Config, _: &Arc<Metrics>) -> Result<kube::Client, kube::Error> { kube::Client::try_from(config) }
