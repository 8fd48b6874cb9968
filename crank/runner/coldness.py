# The way from the first request to the steady state: a second of load after the other, from several starts.
# As a program: coldness.py FILE   prints the summary of a JSON array of starts, each an array of visits; of two starts
# also how the second compares with the first.
import json
import statistics
import sys

# Of the costs at the end, what a second may cost more and still count as settled.
SETTLED = 1.2
LAST_S = 5
COLUMNS = ["scenario", "target", "first second", "2 to 5", "cold total", "last 5", "settled after, s",
           "worst up to a second", "worst by rank", "worst second"]


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


def beside(first, own):
    """The worst ratios of one start to a start of the first target, whose code is compiled at other moments.

    up to: of what all requests up to the end of some second have cost
    rank: of the n-th dearest seconds of both: the same phases, whenever each goes through them
    second: of the same second, in which one may compile and the other not
    """
    seconds = range(1, min(len(first), len(own)) + 1)
    costs = [sorted((visit["cpuUsPerRequest"] for visit in visits[:len(seconds)]), reverse=True)
             for visits in (own, first)]
    return {
        "upTo": max(_cost(own[:end]) / _cost(first[:end]) for end in seconds),
        "rank": max(mine / other for mine, other in zip(*costs)),
        "second": max(_cost(own[end - 1:end]) / _cost(first[end - 1:end]) for end in seconds),
    }


def markdown(report):
    lines = [report["runtimeSettings"], "", f"Repeat with: `{report['command']}`", "",
             "CPU µs per request, median [range] of the starts; in brackets the ratio to the first target.", "",
             "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for scenario in report["scenarios"]:
        first = starts = None
        for name, target in scenario["targets"].items():
            values = target["summary"]
            shown = []
            for key in ("first", "early", "total", "last"):
                ratio = "" if first is None else \
                    f" ({statistics.median(values[key]) / statistics.median(first[key]):.2f})"
                shown.append(_range(values[key], ".2f") + ratio)
            worst = [beside(*pair) for pair in zip(starts or [], target["starts"])]
            shown += [_range(values["settledAfter"], ".0f"),
                      *(_range([found[key] for found in worst], ".2f") if worst else ""
                        for key in ("upTo", "rank", "second"))]
            lines.append("| " + " | ".join([scenario["name"] if first is None else "", name, *shown]) + " |")
            first, starts = first or values, starts or target["starts"]
    return "\n".join(lines) + "\n"


def _cost(visits):
    """Of all their requests together: seconds in which many were answered weigh more."""
    requests = sum(visit["requests"] for visit in visits)
    return sum(visit["cpuUsPerRequest"] * visit["requests"] for visit in visits) / requests if requests else 0.0


def _range(values, form):
    return f"{statistics.median(values):{form}} [{min(values):{form}}–{max(values):{form}}]"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as source:
        read = json.load(source)
    print(json.dumps({**summary(read), **({"beside": beside(*read)} if len(read) == 2 else {})}))
