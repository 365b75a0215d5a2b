"""The releases, what has to come of each, and whether it did."""

from dataclasses import dataclass, field

ALL_STEPS = (0, 10, 25, 50, 100)


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
    says: str = ""  # what somebody on call types while it waits for approval
    canary: str = "canary.yaml"
    note: str = "no hold"  # what is other about it than the canary of the act before
    steps: tuple = ALL_STEPS
    testers: bool = False


AT_25 = {"canary": "canary-approval.yaml", "note": "hold at 25 %"}
BLUE_GREEN = {"canary": "blue-green.yaml", "note": "testers, then 0 to 100 %", "steps": (0, 100), "testers": True}
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
        served=(30, 95), says="promote checkout --reason 'looks good'", **AT_25,
    ),
    6: Act(
        "a version that waits at 25 %, and somebody aborts it", "aborted", "1.6", "aborted", "oncall",
        served=(2, 40), says="abort checkout --reason 'not on a Friday'", **AT_25,
    ),
    7: Act(
        "blue/green: testers see the new version before anyone else", "blue/green", "1.7", "promoted",
        served=(30, 95), says="promote checkout --reason 'testers like it'", **BLUE_GREEN,
    ),
    8: Act(
        "blue/green: good for testers, but it breaks under everybody's load", "breaks late", "1.8", "rolled back",
        "success-rate", {"error-rate": "0.5", "error-above": "20"}, served=(5, 70), fails=(1, 50),
        says="promote checkout --reason 'testers like it'", **BLUE_GREEN,
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
    before: dict = field(default_factory=dict)  # who asked before the switch: answers by version
    writes: dict = field(default_factory=dict)  # of the route, for the switch and for the way back
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
    steps = list(act.steps if act.outcome == "promoted" else act.steps[: len(up)])
    if up != steps:
        yield f"its weights were {arrows(up)}, not {arrows(steps)}"
    if act.outcome != "promoted" and not act.testers and max(up, default=0) > 50:
        yield f"it went up to {max(up)} %"
    if max(up, default=0) > 0 and not told.observed:
        yield "no observed weight was told"
    for intended, observed in told.observed:
        if act.testers and intended == 0:
            continue  # the testers' share is all that there is
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
    if act.testers:
        yield from as_blue_green(act, told)


def as_blue_green(act, told):
    for who, answers in told.before.items():
        meant = told.stable if who == "users" else act.version
        if set(answers) != {meant}:
            yield f"before the switch {who} were answered by {answers}, and should have been by {meant} alone"
    if not told.before:
        yield "it was never seen who gets which version before the switch"
    for what, writes in told.writes.items():
        if writes != 1:
            yield f"{what} took {writes} writes of the route, not 1"


def arrows(weights):
    return " > ".join(map(str, weights)) or "none"
