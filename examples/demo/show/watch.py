"""The canary's status, each state of it, as `tidegate status -w -o json` tells it."""

import json
import subprocess
import threading
import time


class Watch:
    def __init__(self, cluster):
        command = ["tidegate", "status", "checkout", "-w", "-o", "json"]
        self.process = cluster.start("watch", command, cluster.oncall, stdout=subprocess.PIPE, text=True)
        self.log = open(cluster.folder / "states.json", "w", buffering=1)
        self.states = []
        self.position = 0  # of the first that nobody has asked for yet
        self.news = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        text, decoder = "", json.JSONDecoder()
        for line in self.process.stdout:
            text += line
            if line != "}\n":
                continue
            canary, _ = decoder.raw_decode(text)
            text = ""
            self.log.write(json.dumps(canary.get("status")) + "\n")
            with self.news:
                self.states.append(canary.get("status", {}))
                self.news.notify_all()

    def until(self, so, seconds, each=None):
        """The next state that is `so`, or None after so many seconds; `each` sees every state up to it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with self.news:
                if self.position == len(self.states):
                    self.news.wait(0.2)
                    continue
                state = self.states[self.position]
                self.position += 1
            if each:
                each(state)
            if so(state):
                return state
        return None
