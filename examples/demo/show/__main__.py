"""show DIR ACTS: plays the demo on a cluster of its own, in DIR. Called by ./demo, which has compiled everything."""

import signal
import sys
import time
from collections import Counter

from acts import ACTS
from cluster import RATE, Cluster, Load, Trouble
from release import Release, at_rest
from report import report
from screen import Doing, bad, bold, say
from watch import Watch


class Demo:
    def __init__(self, cluster):
        self.cluster = cluster
        self.trouble = []  # what broke beside the acts

    def set_up(self):
        cluster, begin = self.cluster, time.monotonic()
        cluster.app("1.0")
        cluster.canaries()
        print(bold("Setting up"))
        with Doing("a Kubernetes control plane, Prometheus and Traefik"):
            cluster.up()
        with Doing("Tidegate from deploy/, as its own ServiceAccount"):
            cluster.install()
        with Doing("a shop: Deployment, Service and HTTPRoute checkout"):
            cluster.deploy()
            cluster.policies_in_force()
        self.seen = Counter()  # answers by version, as clients saw them
        self.before = cluster.counts()
        self.load = Load(cluster, "load", RATE)
        say(f"{time.monotonic() - begin:.0f} s in all. Users send {RATE} requests a second through the gateway.", "  ")

    def adopt(self):
        """The canary is created; nothing of the shop may change by that."""
        cluster = self.cluster
        self.owned, pods = cluster.owned(), cluster.pods("1.0")
        print()
        print(bold("How new versions of checkout are to be released"))
        cluster.type("owner", "kubectl apply -f canary.yaml", "examples/demo/canary.yaml")
        self.watch = Watch(cluster)
        ready = self.watch.until(lambda status: at_rest(status) and status.get("heldBy"), 60)
        if not ready:
            raise Trouble(f"the canary did not become ready; logs are in {cluster.folder}")
        if ready["heldBy"] != "ApiServer":
            self.trouble.append(f"adoption: new versions are held by {ready['heldBy']}, not by the API server's policies")
        if cluster.pods("1.0") != pods:
            self.trouble.append("adoption: the pods of 1.0 did not stay as they were")
        if self.changed(at_rest=True):
            self.trouble.append(f"adoption: {', '.join(self.changed(at_rest=True))} changed")
        print("Adopted: the pods are the same, and all that the owner wrote is as it was.")

    def changed(self, at_rest=False):
        """What of the owner's is not as it was; at rest the Deployment has a label."""
        now = self.cluster.owned()
        return [what for what, was in self.owned.items() if now[what] != was and not (at_rest and what == "the Deployment's names")]

    def play(self, numbers):
        stable, canary, told = "1.0", "canary.yaml", {}
        for n in numbers:
            act = ACTS[n]
            print()
            print(bold(f"{n} of {len(ACTS)}: {act.title}"))
            because = f", because of {act.because}" if act.outcome == "rolled back" else ""
            say(f"It should be {act.outcome}{because}.")
            if act.canary != canary:
                canary = act.canary
                self.cluster.type("owner", f"kubectl apply -f {canary}", act.note)
            release = Release(self.cluster, self.watch, self.load, act, stable)
            told[n] = release.play()
            self.seen += release.seen
            if told[n].outcome == "promoted":
                stable = act.version
        return told

    def finish(self):
        """Nothing may be left: neither at rest, nor when the canary is gone."""
        cluster = self.cluster
        self.clean("at rest", lambda: cluster.left_over(services=False) + self.changed(at_rest=True))
        print()
        print(bold("Without its canary, everything is as its owner wrote it"))
        cluster.type("owner", "kubectl delete canary checkout")
        self.clean("after the canary", lambda: cluster.left_over() + self.changed())
        self.seen += self.load.stop()
        counted = Counter(cluster.counts()) - Counter(self.before)
        if self.seen != counted:
            self.trouble.append(f"clients had answers {dict(self.seen)}, and pods counted {dict(counted)}")
        return sum(counted.values())

    def clean(self, when, left):
        try:
            self.cluster.wait_for(lambda: not left(), 20, "everything to be as it was")
        except Trouble as trouble:
            self.trouble.append(f"{when}: {trouble}: {', '.join(left())}")


def stop(*_):
    """Once is enough: Ctrl-C comes from the terminal, and again from the namespace that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    folder, numbers = sys.argv[1], [int(n) for n in sys.argv[2].split(",")]
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    cluster = Cluster(folder)
    try:
        demo = Demo(cluster)
        demo.set_up()
        demo.adopt()
        told = demo.play(numbers)
        answers = demo.finish()
        return report(told, demo.trouble, answers)
    except Trouble as trouble:
        print(f"\n{bad(f'demo: {trouble}')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; nothing is left running", file=sys.stderr)
        return 130
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
