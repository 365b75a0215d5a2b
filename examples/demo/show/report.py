"""The table at the end, and what is not as it should be."""

from acts import ACTS, broken, lost
from screen import bad, bold, faint, good, say


def report(told, trouble, answers):
    """Prints it; the exit code of the demo."""
    print()
    print(bold("What came of it"))
    print(faint(f"{'':2}{'VERSION':17}{'OUTCOME':13}{'SECONDS':>7}{'BY STABLE':>12}{'BY CANARY':>12}{'FAILED':>9}{'LOST':>7}"))
    wrong = []
    for n, of in told.items():
        act = ACTS[n]
        broke = list(broken(act, of))
        wrong += [f"{n}, {act.name}: {text}" for text in broke]
        colour = bad if broke else good
        by_stable, by_canary = of.served.get(of.stable, 0), of.served.get(act.version, 0)
        print(
            f"{n} {f'{act.version} {act.name}':17}{colour(of.outcome.ljust(13))}{of.seconds:7.0f}"
            f"{by_stable:12,}{by_canary:12,}{sum(of.failed.values()):9,}{lost(act, of):7,}"
        )
    say(
        f"Requests are as counted by the pods that answered them, {answers:,} in all. FAILED is what users saw, "
        "LOST what of it is not the new version's own."
    )
    wrong += trouble
    print()
    if not wrong:
        print(good("All as it should be."))
        return 0
    print(bad("Not as it should be:"))
    for text in wrong:
        say(text, "  ", "- ")
    return 1
