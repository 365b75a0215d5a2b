"""What people see: headings, commands as they are typed, and a release as it goes on."""

import os
import subprocess
import sys
import textwrap
import time

TERMINAL = sys.stdout.isatty()
COLOURS = TERMINAL and not os.environ.get("NO_COLOR")
WIDTH = 80


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def bold(text):
    return paint("1", text)


def faint(text):
    return paint("2", text)


def good(text):
    return paint("32", text)


def bad(text):
    return paint("1;31", text)


def say(text, indent="", first=None):
    """A paragraph."""
    first = indent if first is None else first
    print("\n".join(textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=indent)), flush=True)


class Doing:
    """A line of set-up: what is done, and how long it took."""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        self.start = time.monotonic()
        print(f"  {self.what} ".ljust(66, "."), end=" ", flush=True)

    def __exit__(self, kind, *_):
        if kind is None:
            print(f"{time.monotonic() - self.start:5.1f} s", flush=True)


def typed(who, command, note=""):
    """A command, as somebody types it."""
    print()
    print(faint(f"{who} $ "), end="")
    for letter in command:
        print(bold(letter), end="", flush=True)
        if TERMINAL:
            time.sleep(0.015)
    print(faint(f"   # {note}") if note else "")


class Follower:
    """Shows a release: `tidegate status -w` on a terminal, else a line for each change."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.process = None
        self.start = time.monotonic()
        self.last = None
        self.checked = None

    def __enter__(self):
        print(flush=True)
        if TERMINAL:
            command = ["tidegate", "status", "checkout", "-w"]
            self.process = subprocess.Popen(command, env=self.cluster.environment(self.cluster.oncall), stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        if self.process:
            time.sleep(0.3)  # the end is shown too
            self.process.terminate()
            self.process.wait()
            print("\033[?7h", end="", flush=True)

    def show(self, status):
        if TERMINAL or not status.get("run"):
            return
        traffic = status.get("traffic") or {}
        line = f"{traffic.get('intended', 0):3} %  {message(status)}"
        if line != self.last:
            self.last = line
            at = f"{time.monotonic() - self.start:6.1f} s  "
            say(line, " " * 17, at)
        at = traffic.get("observedAt")
        if at and at != self.checked:
            self.checked = at
            print("\n".join(" " * 17 + line for line in values(traffic, status["metrics"])), flush=True)


def message(status):
    """What is waited for, or how it ended."""
    waiting = status.get("waitingFor")
    return waiting["message"] if waiting else status["phase"]


def values(traffic, metrics):
    """Canary and stable, side by side."""
    yield f"{traffic['observed']:5.1f} % observed {'CANARY':>10}{'STABLE':>12}   LIMIT"
    for m in metrics:
        canary, stable = (f"{m[a]:.1f} {m['unit']}" if m.get(a) is not None else "-" for a in ("canary", "stable"))
        limit = f"{m['limit']} {m['unit']}"
        yield f"{m['name']:17}{canary:>10}{stable:>12}   {limit:12}{m['verdict']}"
