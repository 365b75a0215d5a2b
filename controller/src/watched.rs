//! What is kept of the objects that are watched: the fields that are used, and no others.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use rollout::Revision;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A Deployment without its pod template, of which the revision, the labels and the first image are kept.
#[derive(Resource, Serialize, Deserialize, Clone, Debug)]
#[resource(inherit = Deployment)]
pub(crate) struct Workload {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: WorkloadSpec,
    #[serde(default)]
    pub(crate) status: WorkloadStatus,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct WorkloadSpec {
    #[serde(default)]
    pub(crate) paused: bool,
    #[serde(default = "one")]
    pub(crate) replicas: u32,
    pub(crate) selector: Selector,
    pub(crate) template: Template,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WorkloadStatus {
    pub(crate) observed_generation: i64,
    pub(crate) replicas: u32,
    pub(crate) ready_replicas: u32,
    pub(crate) available_replicas: u32,
    pub(crate) conditions: Vec<WorkloadCondition>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct WorkloadCondition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) message: String,
}

/// One of a Deployment's ReplicaSets, reduced in the same way.
#[derive(Resource, Serialize, Deserialize, Clone, Debug)]
#[resource(inherit = ReplicaSet)]
pub(crate) struct Generation {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: GenerationSpec,
    #[serde(default)]
    pub(crate) status: GenerationStatus,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct GenerationSpec {
    #[serde(default = "one")]
    pub(crate) replicas: u32,
    pub(crate) template: Template,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GenerationStatus {
    pub(crate) replicas: u32,
    pub(crate) ready_replicas: u32,
    pub(crate) available_replicas: u32,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Selector {
    pub(crate) match_labels: BTreeMap<String, String>,
}

/// What identifies a pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) revision: Revision,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) image: String,
}

const fn one() -> u32 {
    1
}

impl Template {
    /// The same for a Deployment, the ReplicaSets that it makes and the canary that Tidegate makes of it: their own labels
    /// don't count.
    pub(crate) fn of(template: &Value) -> Self {
        let mut template = template.clone();
        let mut labels = BTreeMap::new();
        if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
            if let Some(map) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
                map.remove(api::POD_TEMPLATE_HASH);
                map.remove(api::ROLE_LABEL);
                labels = map
                    .iter()
                    .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                    .collect();
            }
        }
        let image = template.pointer("/spec/containers/0/image").and_then(Value::as_str);
        // Keys are sorted in `Value`, so equal templates have equal bytes.
        let digest = Sha256::digest(template.to_string());
        let hash = digest.iter().take(5).fold(String::new(), |s, byte| s + &format!("{byte:02x}"));
        Self { revision: Revision::new(hash), labels, image: image.unwrap_or_default().to_owned() }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|template| Self::of(&template))
    }
}

impl Serialize for Template {
    /// For logs only: what was dropped can't be written back.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.revision.as_str())
    }
}

impl Workload {
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The canary that has adopted it.
    pub(crate) fn adopted_by(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(api::CANARY_LABEL).map(String::as_str)
    }

    /// Why no pod can be made, if none can: a quota, a policy, a missing ServiceAccount.
    pub(crate) fn replica_failure(&self) -> Option<&str> {
        let failed = |c: &&WorkloadCondition| c.kind == "ReplicaFailure" && c.status == "True";
        self.status.conditions.iter().find(failed).map(|c| c.message.as_str())
    }

    /// The Deployment controller has seen the newest generation.
    pub(crate) fn current(&self) -> bool {
        self.status.observed_generation >= self.metadata.generation.unwrap_or_default()
    }
}

impl Selector {
    /// As the API takes it in a query.
    pub(crate) fn to_query(&self) -> String {
        let labels: Vec<_> = self.match_labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        labels.join(",")
    }
}
