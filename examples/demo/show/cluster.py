"""The cluster that the demo runs on, and everything that it asks of it."""

import json
import os
import subprocess
import time
import urllib.request
from collections import Counter
from datetime import datetime
from pathlib import Path

from screen import typed

ROOT = Path(__file__).resolve().parents[3]
FILES = Path(__file__).resolve().parents[1]
BENCH = ROOT / "tests/cluster"
GATEWAY = "http://127.0.0.1:10083"
COUNTS = "http://127.0.0.1:9099/counts"
RATE = 120
# Who tests: requests a second, and what they send beside.
TESTERS = {
    "testers, by the header x-canary: 1": (10, {"x-canary": "1"}),
    "testers, by the cookie canary=always": (5, {"Cookie": "theme=dark; canary=always"}),
}


class Trouble(Exception):
    """Why the demo can't go on."""


class Cluster:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.binary = os.environ["TIDEGATE_BINARY"]
        self.owner = self.folder / "kubeconfig"
        self.oncall = self.folder / "oncall.kubeconfig"
        self.manifests = self.folder / "manifests"
        self.manifests.mkdir()
        # So that what is shown is what is run.
        (self.folder / "bin").mkdir()
        (self.folder / "bin/tidegate").symlink_to(self.binary)
        self.path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        self.children = []

    def up(self):
        run = subprocess.run([BENCH / "up", self.folder, "prometheus", "traefik"], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        if run.returncode:
            raise Trouble("the cluster did not start; see above")

    def install(self):
        """`kubectl apply -k deploy/`; then the binary takes the place of the pod's container."""
        self.kubectl("apply", "-k", ROOT / "deploy")
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        system = ("-n", "tidegate-system")
        ours = {"spec": {"template": {"metadata": {"annotations": {"bench/serve": "false"}}}}}
        self.kubectl(*system, "patch", "deployment", "tidegate", "-p", json.dumps(ours))
        self.kubectl(*system, "rollout", "status", "deployment/tidegate", "--timeout=60s")
        pods = self.get("pods", *system, "-l", "app.kubernetes.io/name=tidegate")["items"]
        pod = next(p for p in pods if "deletionTimestamp" not in p["metadata"])
        container = [BENCH / "run-container", self.folder / "bin/kubectl", self.folder, "tidegate-system", pod["metadata"]["name"], "tidegate"]
        controller = self.start("tidegate", [*container, self.binary], self.owner)
        ready = f"http://{pod['status']['podIP']}:8080/readyz"
        self.wait_for(lambda: fetch(ready) is not None, 30, "the controller to be ready", controller)
        self.kubectl(*"config set-context --current --namespace shop".split())
        self.kubectl(*"config set-context --current --namespace shop".split(), user=self.oncall)

    def deploy(self):
        self.kubectl("create", "namespace", "shop")
        self.kubectl("apply", "-f", self.manifests / "checkout-1.0.yaml", "-f", FILES / "oncall.yaml")
        self.kubectl("rollout", "status", "deployment/checkout", "--timeout=60s")
        self.wait_for(lambda: fetch(GATEWAY, "checkout.example.com") is not None, 30, "the gateway to route")

    def policies_in_force(self):
        """The API server takes a second or two to see new ones."""
        label = json.dumps({"metadata": {"labels": {"tidegate.dev/stable-hash": "abc"}}})

        def pinned():
            service = self.kubectl("patch", "service", "checkout", "-p", label, "--dry-run=server", "-o", "json")
            return "pod-template-hash" in json.loads(service)["spec"]["selector"]

        self.wait_for(pinned, 30, "the policies to be in force")

    def start(self, name, command, kubeconfig, **more):
        """A process beside the demo, with its log; it ends with the demo, or before."""
        log = open(self.folder / f"{name}.log", "wb")
        more = {"stdout": log, "stderr": log, **more}
        child = subprocess.Popen(list(map(str, command)), env=self.environment(kubeconfig), stdin=subprocess.DEVNULL, **more)
        self.children.append(child)
        return child

    def environment(self, kubeconfig):
        return {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": self.path}

    def kubectl(self, *words, user=None):
        command = [self.folder / "bin/kubectl", *words]
        run = subprocess.run(list(map(str, command)), env=self.environment(user or self.owner), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if run.returncode:
            raise Trouble(f"kubectl {' '.join(map(str, words))}: {run.stderr.strip()}")
        return run.stdout

    def get(self, *words):
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def wait_for(self, true, seconds, what, process=None):
        end = time.monotonic() + seconds
        while not true():
            if process and process.poll() is not None:
                raise Trouble(f"waited for {what}, but it has ended; its log is in {self.folder}")
            if time.monotonic() > end:
                raise Trouble(f"waited {seconds} s for {what}; logs are in {self.folder}")
            time.sleep(0.1)

    def app(self, version, behaves=None):
        """The app's manifests at a version, as its owner would commit them."""
        text = (FILES / "app.yaml").read_text().replace("checkout:1.0", f"checkout:{version}")
        first = '        bench/latency-ms: "20"\n'
        more = "".join(f'        bench/{key}: "{value}"\n' for key, value in (behaves or {}).items())
        self.manifest(f"checkout-{version}.yaml", text.replace(first, first + more))

    def canaries(self):
        """The canaries' manifests: by steps, the same with a hold at 25 %, and blue/green."""
        for name in ("canary.yaml", "blue-green.yaml"):
            text = (FILES / name).read_text()
            if os.environ.get("DEMO_SKIP_ANALYSIS") == "1":
                text = text.replace("skipAnalysis: false", "skipAnalysis: true")
            self.manifest(name, text)
        text = (self.manifests / "canary.yaml").read_text()
        self.manifest("canary-approval.yaml", text.replace("{weight: 25}", "{weight: 25, hold: {untilApproved: true}}"))

    def manifest(self, name, text):
        (self.manifests / name).write_text(text)

    def pods(self, version):
        """The UIDs of the pods of a version that stay."""
        image = f"example.com/checkout:{version}"
        of = [p for p in self.get("pods")["items"] if p["spec"]["containers"][0]["image"] == image]
        return {p["metadata"]["uid"] for p in of if "deletionTimestamp" not in p["metadata"]}

    def counts(self):
        """Requests by version, as the pods count them."""
        shop = json.loads(fetch(COUNTS)).get("shop", {})
        return {version: sum(codes.values()) for version, codes in shop.items()}

    def route_writes(self, since, until):
        """How often Tidegate wrote the route between two moments, by the API server's audit log."""
        written = set()
        for line in (self.folder / "audit.log").read_text().splitlines():
            if '"httproutes"' not in line or "system:serviceaccount:tidegate-system:tidegate" not in line:
                continue
            event = json.loads(line)
            code, at = event.get("responseStatus", {}).get("code", 0), datetime.fromisoformat(event["requestReceivedTimestamp"])
            if event["verb"] in ("patch", "update") and code < 300 and since < at.timestamp() <= until:
                written.add(event["auditID"])
        return len(written)

    def owned(self):
        """What the owner wrote, as the API server has it; but for what each release changes."""
        deployment, service, route = (self.get(kind, "checkout") for kind in ("deployment", "service", "httproute"))
        del deployment["spec"]["template"]
        owned = {}
        for o in (deployment, service, route):
            kind, meta = o["kind"], o["metadata"]
            owned[f"the {kind}'s spec"] = o["spec"]
            meta.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
            owned[f"the {kind}'s names"] = (meta.get("labels", {}), sorted(meta.get("annotations", {})))
        return owned

    def left_over(self, services=True):
        """What there is in the namespace that its owner didn't make; at rest there is a Service."""
        kinds = "deployments,replicasets,pods" + (",services" if services else "")
        return [name for name in self.kubectl("get", kinds, "-o", "name").split() if "-canary" in name]

    def type(self, who, command, note=""):
        """Shows a command as somebody types it, and runs just that."""
        typed(who, command, note)
        user = self.oncall if who == "oncall" else self.owner
        run = subprocess.run(["bash", "-c", command], cwd=self.manifests, env=self.environment(user), stdin=subprocess.DEVNULL)
        if run.returncode:
            raise Trouble(f"that ended with {run.returncode}")

    def stop(self):
        for child in self.children:
            child.kill()


def fetch(url, host=None):
    """The body of a good answer, else nothing."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            return answer.read()
    except OSError:
        return None


class Load:
    """Requests at a constant rate through the gateway, whatever comes back."""

    def __init__(self, cluster, name, rate, headers=None):
        self.seconds = cluster.folder / f"{name}-seconds.json"
        command = [cluster.folder / "bin/podrunner", "load", "-url", GATEWAY, "-host", "checkout.example.com", "-rps", rate, "-per-second", self.seconds]
        for header, value in (headers or {}).items():
            command += ["-header", f"{header}: {value}"]
        self.process = cluster.start(name, command, cluster.owner, stdout=subprocess.PIPE, text=True)

    def answers(self, since, until, what="requests"):
        """Requests between two moments by the version that answered, or those of them that failed."""
        counts = Counter()
        for line in self.seconds.read_text().splitlines():
            second = json.loads(line)
            if since < second["time"] <= until:
                for version, answers in second["versions"].items():
                    counts[version] += answers[what]
        return +counts

    def stop(self):
        """Ends it; all answers by version, as the clients saw them."""
        self.process.terminate()
        summary = json.loads(self.process.communicate(timeout=30)[0])
        return Counter({version: a["requests"] for version, a in summary["versions"].items() if version})
