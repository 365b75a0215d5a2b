//! What Tidegate is connected to: where metrics come from, and what moves traffic.

pub mod metrics;
pub mod traffic;
