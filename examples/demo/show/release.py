"""One act: a release from its first command to its end, and what it has shown."""

import time
from collections import Counter

from acts import Told
from cluster import TESTERS, Load
from screen import Follower, bad, faint, good, say

LONGEST = 120  # seconds that a release may take


class Release:
    def __init__(self, cluster, watch, load, act, stable):
        self.cluster, self.watch, self.load, self.act = cluster, watch, load, act
        self.told = Told(stable=stable)
        self.known = {s["run"]["name"] for s in watch.states if s.get("run")}
        self.checked = None
        self.testers = {}  # their load, from when Tidegate looks for them
        self.tested_since = 0
        self.seen = Counter()  # answers to testers by version, as they saw them
        self.at = {}  # when somebody was asked, and when everybody was first seen to be switched, and back

    def play(self):
        cluster, act, told = self.cluster, self.act, self.told
        pods, counts, since, start = cluster.pods(told.stable), cluster.counts(), time.time(), time.monotonic()
        self.bump()
        ended = self.follow()
        told.seconds = time.monotonic() - start
        self.outcome(ended)
        cluster.app(act.version, act.behaves)
        if told.outcome != "promoted":
            told.stable_pods_stayed = cluster.pods(told.stable) == pods
            self.revert()
        self.seen = sum((load.stop() for load in self.testers.values()), Counter())
        time.sleep(1.2)  # the load writes down each second at its end
        told.served = {v: n - counts.get(v, 0) for v, n in cluster.counts().items() if n != counts.get(v, 0)}
        loads = [self.load, *self.testers.values()]
        told.failed = dict(sum((load.answers(since, time.time(), "failed") for load in loads), Counter()))
        return told

    def bump(self):
        version, behaves = self.act.version, self.act.behaves
        if behaves:
            self.cluster.app(version, behaves)
            note = ", ".join(f"{key} {value}" for key, value in behaves.items())
            self.cluster.type("owner", f"kubectl apply -f checkout-{version}.yaml", note)
        else:
            self.cluster.type("owner", f"kubectl set image deployment/checkout app=example.com/checkout:{version}")

    def follow(self):
        """Shows it until it has ended, with what somebody on call types in the middle of it."""
        with Follower(self.cluster) as follower:
            status = self.until(lambda s: self.over(s) or waits(s), follower)
            if status and waits(status):
                time.sleep(3)  # for people to read it
        if self.act.says and status and waits(status):
            if self.act.testers:
                self.before_the_switch()
            self.at["asked"] = time.time()
            self.cluster.type("oncall", f"tidegate {self.act.says}")
            if self.act.testers:
                status = self.switched()
                if status and self.over(status):
                    return status
            with Follower(self.cluster) as follower:
                status = self.until(self.over, follower)
        return status

    def before_the_switch(self):
        """Who gets which version, side by side."""
        told, act = self.told, self.act
        now = time.time()
        told.before = {who: load.answers(self.tested_since, now) for who, load in {"users": self.load, **self.testers}.items()}
        print()
        say(f"At weight 0, the requests of the last {now - self.tested_since:.0f} s were answered by")
        print(faint(f"{'':46}{'STABLE ' + told.stable:>12}{'CANARY ' + act.version:>14}"))
        for who, answers in told.before.items():
            print(f"  {who:44}{answers[told.stable]:12,}{answers[act.version]:14,}", flush=True)

    def switched(self):
        """Shows what is kept while everybody is on the new version."""
        with Follower(self.cluster) as follower:
            status = self.until(lambda s: self.over(s) or s["traffic"].get("stored") == 100, follower)
        if status and not self.over(status):
            self.cluster.type("oncall", "kubectl get deployments", "the version before is kept warm")
        return status

    def until(self, so, follower):
        def each(status):
            follower.show(status)
            self.note(status)

        return self.watch.until(so, LONGEST, each)

    def over(self, status):
        return self.runs(status) and "endedAt" in status["run"]

    def runs(self, status):
        """Is this the run of this act, and not an older one?"""
        return bool(status.get("run")) and status["run"]["name"] not in self.known

    def note(self, status):
        """Each new weight, and each check's view of it."""
        traffic = status.get("traffic")
        if not self.runs(status):
            return
        waiting = (status.get("waitingFor") or {}).get("reason")
        if self.act.testers and not self.testers and waiting == "CheckNotDue":
            self.tested_since = time.time()
            for n, (who, (rate, headers)) in enumerate(TESTERS.items()):
                self.testers[who] = Load(self.cluster, f"testers-{self.act.version}-{n}", rate, headers)
        if traffic.get("stored") == 100:
            self.at.setdefault("switched", time.time())
        elif "switched" in self.at:
            self.at.setdefault("back", time.time())
        at = traffic.get("observedAt")
        if at and at != self.checked:
            self.checked = at
            # What a check leads to is told together with it, so what was observed is of the weight before.
            self.told.observed.append((self.told.weights[-1], traffic["observed"]))
        if self.told.weights[-1:] != [traffic["intended"]]:
            self.told.weights.append(traffic["intended"])

    def outcome(self, status):
        told, act = self.told, self.act
        if not status:
            told.outcome = "unfinished"
            told.reason = f"it had not ended after {LONGEST} s"
        else:
            run = self.cluster.get("canaryrun", status["run"]["name"])["status"]
            cause = (run["cursor"].get("cause") or {}).get("kind")
            back = "aborted" if cause == "Aborted" else "rolled back"
            told.outcome = "promoted" if run["cursor"]["phase"] == "Succeeded" else back
            told.reason = run["message"].removeprefix("rolled back: ")
        print()
        colour = good if told.outcome == act.outcome else bad
        print(colour(f"{act.version} {told.outcome} after {told.seconds:.0f} s"))
        say(told.reason, "  ")
        self.writes()

    def writes(self):
        """How many writes of the route it took to move everybody."""
        at, writes = self.at, self.told.writes
        if not self.act.testers or "switched" not in at:
            return
        writes["the switch"] = self.cluster.route_writes(at["asked"], at["switched"])
        if self.told.outcome != "promoted" and "back" in at:
            writes["the way back"] = self.cluster.route_writes(at["switched"], at["back"])
        say("writes of the route: " + ", ".join(f"{what} {n}" for what, n in writes.items()), "  ")

    def revert(self):
        """The owner takes the bad version back, where it is kept."""
        self.cluster.type("owner", f"kubectl apply -f checkout-{self.told.stable}.yaml", "the owner takes it back")
        self.told.reverted = bool(self.watch.until(at_rest, 60))


def waits(status):
    return (status.get("waitingFor") or {}).get("reason") == "AwaitingApproval"


def at_rest(status):
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return ready and status["phase"] in ("Idle", "Succeeded")
