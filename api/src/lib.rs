//! What users write and see: the custom resources, their validation, and the way between the wire and the state machine.

#![expect(unreachable_pub, reason = "the schema derive repeats each type inside a function")]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printed column is an attribute of the same name"
)]

mod action;
mod canary;
mod cursor;
mod matcher;
mod parse;
mod run;
mod schema;
mod status;
mod template;

pub use action::{ActionState, ActionStatus, ActionVerb, CanaryAction, CanaryActionSpec};
pub use canary::{
    Analysis, AppsVersion, Builtin, Canary, CanarySpec, DeploymentKind, GatewayRef, Hold, Limit,
    ManagedRoute, Matcher, Metric, Mirror, NoData, NoDataThen, Pattern, Provider, ServiceRef, Step,
    TargetRef, TemplateRef, Traffic,
};
pub use cursor::{Cursor, CursorError, WireSighting};
pub use parse::{Invalid, Parsed, parse, plan_of};
pub use run::{CanaryRun, CanaryRunSpec, CanaryRunStatus, Entry, PlanSpec};
pub use schema::{DURATION_PATTERN, crds};
pub use status::{CanaryStatus, Condition, MetricStatus, RunSummary, TrafficStatus, WaitingFor};
pub use template::{MetricTemplate, MetricTemplateSpec};

/// The API group of everything that Tidegate defines.
pub const GROUP: &str = "tidegate.dev";
/// Who writes, in `managedFields`. The guard policy lets only this manager start a held revision.
pub const FIELD_MANAGER: &str = "tidegate";
/// On the target: the canary that holds its new revisions.
pub const CANARY_LABEL: &str = "tidegate.dev/canary";
/// On the canary's pods, Deployment and Service: `canary`.
pub const ROLE_LABEL: &str = "tidegate.dev/role";
/// On the user's Service during a run: the `pod-template-hash` that it is pinned to.
pub const PIN_LABEL: &str = "tidegate.dev/stable-hash";
/// The label by which a Deployment's ReplicaSets tell their pods apart.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// On the canary's Deployment: the revision of the template that it was made from.
pub const REVISION_ANNOTATION: &str = "tidegate.dev/revision";
/// On the canary's Deployment: the replicas of the target when it was last seen.
pub const TARGET_REPLICAS_ANNOTATION: &str = "tidegate.dev/target-replicas";
/// On a Canary: letting go is not over yet.
pub const FINALIZER: &str = "tidegate.dev/let-go";
/// What the canary's Deployment and Service are called after the target and the user's Service.
pub const SUFFIX: &str = "-canary";
