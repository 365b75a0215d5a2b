//! The state machine in a small model of a cluster: stories that a person can read, properties over random ones, and tables.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests, helpers included")]

mod at_rest;
mod clock;
mod deployment;
mod events;
mod everywhere;
mod given;
mod metrics;
mod plans;
mod properties;
mod stories;
mod tables;
mod transcript;
mod world;
