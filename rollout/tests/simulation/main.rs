//! The state machine in a small model of a cluster: stories that a person can read, properties over random ones, and tables.

mod clock;
mod deployment;
mod metrics;
mod plans;
mod properties;
mod stories;
mod tables;
mod transcript;
mod world;
