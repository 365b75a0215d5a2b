//! A harness for end-to-end tests: a real Kubernetes control plane, gateways and Prometheus, pods that serve, and load.
//!
//! A test runs inside `tests/cluster/in-namespace`; `tests/cluster/test NAME` compiles outside and runs there.
//!
//! ```no_run
//! use tests::{App, Controller, Load, Plane, Requests, scenario};
//!
//! #[test]
//! fn a_good_version_is_promoted() -> anyhow::Result<()> {
//!     scenario(&[Plane::Prometheus, Plane::Traefik], async |cluster| {
//!         let app = App::new("shop", "promoted").behaves("latency-ms", "5").host(Plane::Traefik, "shop.test");
//!         cluster.deploy(&app).await?;
//!         let load = Load::start(cluster, &Requests::through(Plane::Traefik, "shop.test")).await?;
//!         assert_eq!(load.stop().await?.failed, 0);
//!         Ok(())
//!     })
//! }
//! ```

mod app;
mod audit;
mod cluster;
mod controller;
mod faults;
mod judged;
mod load;
mod prometheus;
mod release;
mod scenario;
mod served;
mod shop;
mod wait;

pub use app::App;
pub use audit::ApiRequest;
pub use cluster::{Cluster, Plane, User};
pub use controller::Controller;
pub use faults::{Fault, FaultyPrometheus};
pub use judged::Judged;
pub use load::{Answers, Load, Milliseconds, Request, Requests, Second, Summary};
pub use prometheus::{Prometheus, Sample};
pub use release::{Owned, Release, Status};
pub use scenario::scenario;
pub use served::Served;
pub use shop::{Answered, ENOUGH, Kind, Loads, Shop, ours, unix};
pub use wait::wait_for;
