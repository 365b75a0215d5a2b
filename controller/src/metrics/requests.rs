//! Requests to the API server, counted and timed by what they ask for and never by whom they ask about.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, Uri};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::Metrics;

/// What the controller's role speaks of, in its spelling. Anything else is [`OTHER`].
const RESOURCES: [&str; 25] = [
    "canaries",
    "canaries/status",
    "canaryactions",
    "canaryactions/status",
    "canaryruns",
    "canaryruns/status",
    "customresourcedefinitions",
    "deployments",
    "destinationrules",
    "endpointslices",
    "events",
    "gatewayclasses",
    "gateways",
    "grpcroutes",
    "horizontalpodautoscalers",
    "httpproxies",
    "httproutes",
    "ingressroutes",
    "metrictemplates",
    "pods",
    "replicasets",
    "replicasets/scale",
    "services",
    "traefikservices",
    "virtualservices",
];
const OTHER: &str = "other";

/// The code of a request that got no answer.
const UNANSWERED: &str = "none";

/// The verb and the resource of a request, from closed sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    verb: &'static str,
    resource: &'static str,
}

#[derive(Debug)]
pub(super) struct Requests {
    total: Family<[(&'static str, String); 3], Counter>,
    duration: Family<[(&'static str, &'static str); 2], Histogram>,
}

/// Makes a service count its requests.
#[derive(Clone, Debug)]
pub(crate) struct Counting {
    metrics: Arc<Metrics>,
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl Kind {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let rest = match path.as_slice() {
            ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
            _ => &[],
        };
        let (resource, name, below) = match rest {
            ["namespaces", _, resource, rest @ ..] | [resource, rest @ ..] => {
                (Some(*resource), rest.first(), rest.get(1))
            }
            [] => (None, None, None),
        };
        let watch = uri.query().is_some_and(|query| {
            url::form_urlencoded::parse(query.as_bytes())
                .any(|(key, value)| key == "watch" && matches!(&*value, "true" | "1"))
        });
        let verb = match (method, name) {
            (&Method::GET, _) if watch => "watch",
            (&Method::GET, None) if resource.is_some() => "list",
            (&Method::GET, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, None) => "deletecollection",
            (&Method::DELETE, Some(_)) => "delete",
            _ => OTHER,
        };
        let resource = RESOURCES.into_iter().find(|known| {
            let (main, sub) = known.split_once('/').map_or((*known, None), |(m, s)| (m, Some(s)));
            resource == Some(main) && below.copied() == sub
        });
        Self { verb, resource: resource.unwrap_or(OTHER) }
    }
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let total = Family::default();
        let duration = Family::new_with_constructor(super::fast as fn() -> Histogram);
        registry.register("api_requests", "Requests to the API server", total.clone());
        registry.register_with_unit(
            "api_request_duration",
            "Until the API server's answer begins, so a watch counts with its start",
            Unit::Seconds,
            duration.clone(),
        );
        Self { total, duration }
    }

    fn count(&self, kind: Kind, code: &str, seconds: f64) {
        let Kind { verb, resource } = kind;
        let labels = [
            ("verb", verb.to_owned()),
            ("resource", resource.to_owned()),
            ("code", code.to_owned()),
        ];
        self.total.get_or_create(&labels).inc();
        self.duration.get_or_create(&[("verb", verb), ("resource", resource)]).observe(seconds);
    }
}

impl Counting {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: Arc::clone(&self.metrics) }
    }
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let kind = Kind::of(request.method(), request.uri());
        let metrics = Arc::clone(&self.metrics);
        let began = Instant::now();
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            let status = answer.as_ref().map(Response::status);
            let code = status.as_ref().map_or(UNANSWERED, |status| status.as_str());
            metrics.requests.count(kind, code, began.elapsed().as_secs_f64());
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
