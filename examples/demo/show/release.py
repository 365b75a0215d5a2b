"""One act: a release from its first command to its end, and what it has shown."""

import time

from acts import Told
from screen import Follower, bad, good, say

LONGEST = 120  # seconds that a release may take


class Release:
    def __init__(self, cluster, watch, load, act, stable):
        self.cluster, self.watch, self.load, self.act = cluster, watch, load, act
        self.told = Told(stable=stable)
        self.known = {s["run"]["name"] for s in watch.states if s.get("run")}
        self.checked = None

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
        time.sleep(1.2)  # the load writes down each second at its end
        told.served = {v: n - counts.get(v, 0) for v, n in cluster.counts().items() if n != counts.get(v, 0)}
        told.failed = self.load.failed(since, time.time())
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
            self.cluster.type("oncall", f"tidegate {self.act.says}")
            with Follower(self.cluster) as follower:
                status = self.until(self.over, follower)
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

    def revert(self):
        """The owner takes the bad version back, where it is kept."""
        self.cluster.type("owner", f"kubectl apply -f checkout-{self.told.stable}.yaml", "the owner takes it back")
        self.told.reverted = bool(self.watch.until(at_rest, 60))


def waits(status):
    return (status.get("waitingFor") or {}).get("reason") == "AwaitingApproval"


def at_rest(status):
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return ready and status["phase"] in ("Idle", "Succeeded")
