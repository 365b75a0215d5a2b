//! Kubernetes' times are jiff's, ours are chrono's: converted here and nowhere else.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;

pub(crate) fn from_kube(time: &Time) -> DateTime<Utc> {
    let nanos = u32::try_from(time.0.subsec_nanosecond()).unwrap_or_default();
    DateTime::from_timestamp(time.0.as_second(), nanos).unwrap_or_default()
}

pub(crate) fn to_kube_micro(time: DateTime<Utc>) -> MicroTime {
    let stamp = Timestamp::from_microsecond(time.timestamp_micros()).unwrap_or_default();
    MicroTime(stamp)
}
