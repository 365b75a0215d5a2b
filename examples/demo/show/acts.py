"""The releases, what has to come of each, and whether it did."""

from dataclasses import dataclass, field

ALL_STEPS = [0, 10, 25, 50, 100]


@dataclass(frozen=True)
class Act:
    title: str
    name: str  # in the table
    version: str
    outcome: str
    because: str = ""  # the reason has to say this
    behaves: dict = field(default_factory=dict)  # the pods' annotations, see tests/cluster/README.md
    served: tuple = (0, 100)  # percent of the act's requests that the new version may have answered, at least and at most
    fails: tuple = (0, 0)  # percent of its own answers that may be failures
    says: str = ""  # what somebody on call types while it waits at 25 %


ACTS = {
    1: Act("a good version", "good", "1.1", "promoted", served=(40, 95)),
    2: Act(
        "a version that fails 5 % of its requests", "5 % errors", "1.2", "rolled back", "success-rate",
        {"error-rate": "0.05"}, served=(0.5, 30), fails=(1, 15),
    ),
    3: Act(
        "a version with a slow tail: 4 % of its requests take 3 s", "slow tail", "1.3", "rolled back", "p99",
        {"slow-rate": "0.04", "slow-ms": "3000"}, served=(0.5, 30),
    ),
    4: Act(
        "a version that crashes as it starts", "crash loop", "1.4", "rolled back", "CrashLoopBackOff",
        {"crash": "loop", "crash-code": "101"}, served=(0, 0),
    ),
    5: Act(
        "a version that waits at 25 % until somebody promotes it", "approved", "1.5", "promoted",
        served=(30, 95), says="promote checkout --reason 'looks good'",
    ),
    6: Act(
        "a version that waits at 25 %, and somebody aborts it", "aborted", "1.6", "aborted", "oncall",
        served=(2, 40), says="abort checkout --reason 'not on a Friday'",
    ),
}


@dataclass
class Told:
    """What an act has shown."""

    stable: str = ""  # the version before
    outcome: str = "nothing"
    reason: str = ""
    seconds: float = 0
    weights: list = field(default_factory=list)  # each intended one, in order
    observed: list = field(default_factory=list)  # (intended, observed) of each check
    served: dict = field(default_factory=dict)  # requests by version, as counted by the pods
    failed: dict = field(default_factory=dict)  # failed requests by version as a user saw it; "" is no pod at all
    stable_pods_stayed: bool = True
    reverted: bool = True


def lost(act, told):
    """Failures that are not the new version's own."""
    return sum(n for version, n in told.failed.items() if version != act.version)


def broken(act, told):
    """Each expectation that was not met, as a sentence."""
    if told.outcome != act.outcome:
        yield f"it was {told.outcome}, and should have been {act.outcome}: {told.reason}"
    else:
        yield from on_its_way(act, told)
    if lost(act, told):
        yield f"{lost(act, told):,} requests failed that it had nothing to do with"
    if not told.stable_pods_stayed:
        yield "the pods of the version before did not stay as they were"
    if not told.reverted:
        yield "after its owner took it back, the canary did not come to rest"


def on_its_way(act, told):
    if act.because not in told.reason:
        yield f"the reason doesn't say {act.because}: {told.reason}"
    up = told.weights[:-1] if len(told.weights) > 1 and told.weights[-1] == 0 else told.weights
    steps = ALL_STEPS if act.outcome == "promoted" else ALL_STEPS[: len(up)]
    if up != steps:
        yield f"its weights were {arrows(up)}, not {arrows(steps)}"
    if act.outcome != "promoted" and max(up, default=0) > 50:
        yield f"it went up to {max(up)} %"
    if max(up, default=0) > 0 and not told.observed:
        yield "no observed weight was told"
    for intended, observed in told.observed:
        if abs(intended - observed) > 8:
            yield f"at {intended} % the gateway gave it {observed:.1f} %"
    at_least, at_most = act.served
    new, total = told.served.get(act.version, 0), sum(told.served.values())
    if not at_least <= 100 * new / max(total, 1) <= at_most:
        yield f"it answered {new:,} of {total:,} requests, not {at_least} to {at_most} %"
    at_least, at_most = act.fails
    own = told.failed.get(act.version, 0)
    if not at_least <= 100 * own / max(new, 1) <= at_most:
        yield f"{own:,} of its {new:,} answers were failures, not {at_least} to {at_most} %"


def arrows(weights):
    return " > ".join(map(str, weights)) or "none"
