# The way from the first request to the steady state: a second of load after the other, from several starts.
# As a program: coldness.py FILE   prints the summary of a JSON array of starts, each an array of visits.
import json
import statistics
import sys

# Of the costs at the end, what a second may cost more and still count as settled.
SETTLED = 1.2
LAST_S = 5
COLUMNS = ["scenario", "target", "first second", "2 to 5", "cold total", "last 5", "settled after, s"]


def summary(starts):
    """One value of each start, in µs of CPU per request; seconds until it has settled."""
    return {
        "first": [_cost(visits[:1]) for visits in starts],
        "early": [_cost(visits[1:5]) for visits in starts],
        "total": [_cost(visits) for visits in starts],
        "last": [_cost(visits[-LAST_S:]) for visits in starts],
        "settledAfter": [settled_after([visit["cpuUsPerRequest"] for visit in visits]) for visits in starts],
    }


def settled_after(costs):
    """How many of the first seconds are over before none costs more than the last ones do."""
    limit = SETTLED * statistics.median(costs[-LAST_S:])
    return max((number + 1 for number, cost in enumerate(costs) if cost > limit), default=0)


def markdown(report):
    lines = [report["runtimeSettings"], "", f"Repeat with: `{report['command']}`", "",
             "CPU µs per request, median [range] of the starts; in brackets the ratio to the first target.", "",
             "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for scenario in report["scenarios"]:
        first = None
        for name, target in scenario["targets"].items():
            values = target["summary"]
            shown = []
            for key in ("first", "early", "total", "last"):
                ratio = "" if first is None else \
                    f" ({statistics.median(values[key]) / statistics.median(first[key]):.2f})"
                shown.append(_range(values[key], ".2f") + ratio)
            lines.append("| " + " | ".join([scenario["name"] if first is None else "", name, *shown,
                                            _range(values["settledAfter"], ".0f")]) + " |")
            first = first or values
    return "\n".join(lines) + "\n"


def _cost(visits):
    """Of all their requests together: seconds in which many were answered weigh more."""
    requests = sum(visit["requests"] for visit in visits)
    return sum(visit["cpuUsPerRequest"] * visit["requests"] for visit in visits) / requests if requests else 0.0


def _range(values, form):
    return f"{statistics.median(values):{form}} [{min(values):{form}}–{max(values):{form}}]"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as source:
        print(json.dumps(summary(json.load(source))))
