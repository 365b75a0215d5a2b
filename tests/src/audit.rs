use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde::Deserialize;

use crate::Cluster;

/// One request that the API server answered, from its audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` …
    pub verb: String,
    pub uri: String,
    /// Plural, such as `deployments`; empty for a request that is about no object.
    pub resource: String,
    /// Such as `status`; else empty.
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub code: u16,
    pub user_agent: String,
    /// When it came, RFC 3339 in UTC with microseconds: text order is the order of time.
    pub at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    id: String,
    #[serde(rename = "requestURI")]
    uri: String,
    verb: String,
    user: AuditUser,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct AuditUser {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl Cluster {
    /// Every request of one user so far, in the order in which they came; a watch counts once, when it begins.
    ///
    /// Users are `admin`, `reader`, `oncall` and `system:serviceaccount:<namespace>:<name>`. The cluster's own parts are left out.
    pub fn api_requests(&self, user: &str) -> Result<Vec<ApiRequest>> {
        Ok(requests_of(user, &fs::read_to_string(self.dir().join("audit.log"))?))
    }
}

fn requests_of(user: &str, log: &str) -> Vec<ApiRequest> {
    let mut requests = BTreeMap::new();
    // The last line may be half written.
    for event in log.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok()) {
        if event.user.username != user {
            continue;
        }
        let about = event.object_ref.unwrap_or_default();
        let request = ApiRequest {
            verb: event.verb,
            uri: event.uri,
            resource: about.resource,
            subresource: about.subresource,
            namespace: about.namespace,
            name: about.name,
            code: event.response_status.map_or(0, |s| s.code),
            user_agent: event.user_agent,
            at: event.request_received_timestamp,
        };
        requests.insert((request.at.clone(), event.id), request);
    }
    requests.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_counts_once_and_other_users_do_not() {
        let line = |id: &str, user: &str, verb: &str| {
            format!(
                r#"{{"auditID":"{id}","requestURI":"/api/v1/pods","verb":"{verb}","user":{{"username":"{user}"}},
                "objectRef":{{"resource":"pods"}},"responseStatus":{{"code":200}},"requestReceivedTimestamp":"t{id}"}}"#
            )
            .replace('\n', "")
        };
        let log = [
            line("2", "me", "watch"),
            line("1", "me", "list"),
            line("2", "me", "watch"),
            line("3", "you", "get"),
            "{half".to_owned(),
        ];
        let verbs: Vec<_> =
            requests_of("me", &log.join("\n")).into_iter().map(|r| r.verb).collect();
        assert_eq!(verbs, ["list", "watch"]);
    }
}
