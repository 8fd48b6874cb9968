# Writes the tables of a run into a document, between marks, and copies its data beside the document.
import json
import os
import re
import shlex
import shutil
import statistics
import textwrap

from . import attribution

# Kind: the file with its figures, and what is copied beside it.
KINDS = {
    "table": ("results.json", ["cpu-ratio.png", "rps-ratio.png"]),
    "gateways": ("results.json", []),
    "proxy": ("results.json", []),
    "outside": ("results.json", []),
    "since": ("results.json", []),
    "cold": ("cold.json", []),
    "profile": ("profile.json", []),
    "many": ("many.json", []),
}
END = "<!-- end -->"
LINE = 120


def publish(kind, folder, document):
    """Gives the files that were written."""
    name, pictures = KINDS[kind]
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        report = json.load(file)
    for run in report.get("runs", [report]):
        run["command"] = repeatable(run["command"])
    date = report["machine"]["date"]
    data = os.path.join(os.path.dirname(os.path.abspath(document)), "benchmarks", date)
    with open(document, encoding="utf-8") as file:
        text = file.read()
    text = between_marks(text, kind, lines_of(kind, report, f"benchmarks/{date}"))
    os.makedirs(data, exist_ok=True)
    written = [document]
    with open(os.path.join(data, f"{kind}.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    written.append(os.path.join(data, f"{kind}.json"))
    for picture in pictures:
        if os.path.exists(os.path.join(folder, picture)):
            shutil.copyfile(os.path.join(folder, picture), os.path.join(data, picture))
            written.append(os.path.join(data, picture))
    with open(document, "w", encoding="utf-8") as file:
        file.write(text)
    return [os.path.relpath(path) for path in written]


def repeatable(command):
    """Without what concerns one machine only: where it was built, and where results went."""
    command = re.sub(r" --(output|artifacts|base-port) \S+| --no-build", "", command)
    return re.sub(r"@/\S+", "@artifacts-of-before", command)


def between_marks(text, kind, lines):
    start = f"<!-- measured: {kind} -->"
    if text.count(start) != 1 or END not in text.split(start)[1]:
        raise ValueError(f"the document has no pair of marks {start} and {END}")
    before, rest = text.split(start)
    return before + start + "\n\n" + "\n".join(lines) + "\n\n" + END + rest.split(END, 1)[1]


def lines_of(kind, report, data):
    commands = dict.fromkeys(run["command"] for run in report.get("runs", [report]))
    source = [f"Measured on {report['machine']['date']}; [the data]({data}/{kind}.json) has more than the table:", "",
              "```sh", *(line for command in commands for line in _shown(command)), "```"]
    if kind == "cold":
        return [*_cold(report), "", *source, "", *textwrap.wrap(report["runtimeSettings"], LINE)]
    if kind == "profile":
        return [*_profile(report), *source]
    if kind == "many":
        return [*_many(report), "", *source, "",
                *textwrap.wrap(f"{_unsettled(report)} {report['runtimeSettings']}", LINE, break_on_hyphens=False)]
    picture = f"![CPU per request as a ratio to {_first(report)}]({data}/cpu-ratio.png)"
    return [*_ratios(report), *(["", picture] if kind == "table" else []), "", *source, "",
            *textwrap.wrap(f"{_state(report)} {report['runtimeSettings']}", LINE, break_on_hyphens=False)]


def _shown(command):
    """The command on lines that fit, each but the last with what makes the shell go on reading."""
    groups = []  # an option and its value stay together
    for word in shlex.split(command):
        if groups and not word.startswith("--"):
            groups[-1] += " " + shlex.quote(word)
        else:
            groups.append(shlex.quote(word))
    lines = [""]
    for word in groups:
        if lines[-1].strip() and len(lines[-1]) + len(word) > LINE - len(" \\ "):
            lines.append("    ")
        lines[-1] += (" " if lines[-1].strip() else "") + word
    return [line + " \\" for line in lines[:-1]] + lines[-1:]


def _first(report):
    return report["scenarios"][0]["targets"][0]["name"]


def _state(report):
    """Whether the code had settled, in a sentence."""
    found = [(f"{scenario['name']}/{target['name']}", target["steady"])
             for scenario in report["scenarios"] for target in scenario["targets"]
             if target["steady"]["settled"] is not None]
    late = [name for name, steady in found if not steady["settled"]]
    seconds = [steady["secondsOfSettling"] for _, steady in found]
    if not found:
        return "No target says how many methods its runtime has compiled."
    return (f"Settled: {len(found) - len(late)} of {len(found)}, after {min(seconds)} to {max(seconds)} s of load each"
            + (f"; not settled: {', '.join(late)}." if late else "."))


def _ratios(report):
    """A row for each scenario: the first target's time, the others as ratios to it."""
    names = list(dict.fromkeys(t["name"] for s in report["scenarios"] for t in s["targets"]))
    first, others = names[0], names[1:]
    columns = ["scenario", f"{first}, µs/request", *(f"{name}, ratio" for name in others),
               *(f"{name}, requests/s" for name in others)]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for scenario in report["scenarios"]:
        targets = {target["name"]: target["summary"] for target in scenario["targets"]}
        bound = targets[first]["generatorBound"]
        row = [scenario["name"], _range(targets[first]["cpuUsPerRequest"])]
        row += [_range(targets[name]["cpuRatio"]) if name in targets else "" for name in others]
        row += ["" if name not in targets else "–" if bound or targets[name]["generatorBound"]
                else f"{targets[name]['rpsRatio']['median']:.2f}" for name in others]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def _many(report):
    """A row for each number of connections: the first target's time, the others as ratios to it."""
    names = list(dict.fromkeys(target["name"] for run in report["runs"] for target in run["targets"]))
    first, others = names[0], names[1:]
    columns = ["connections", f"{first}, µs/request", *(f"{name}, ratio" for name in others)]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for run in report["runs"]:
        found = {target["name"]: target for target in run["targets"]}
        if run["targets"][0]["name"] != first:
            raise ValueError(f"with {run['connections']} connections the ratios are not to {first}")
        lines.append("| " + " | ".join([
            f"{run['connections']:,}", _spread(visit["cpuUsPerRequest"] for visit in found[first]["rounds"]),
            *(_spread(found[name]["ratios"]) if name in found else "" for name in others)]) + " |")
    return lines


def _unsettled(report):
    """Whether the code had settled, in a sentence."""
    found = {f"{target['name']} with {run['connections']:,}": target["settled"]
             for run in report["runs"] for target in run["targets"] if target["settled"] is not None}
    late = [name for name, settled in found.items() if not settled]
    return (f"Settled: {len(found) - len(late)} of {len(found)}"
            + (f"; not settled: {', '.join(late)}." if late else "."))


def _cold(report):
    from . import coldness

    table = coldness.markdown(report).splitlines()
    return [line for line in table if line.startswith("|")]


def _profile(report):
    """A table for each target: a column for each scenario and number of connections."""
    lines = []
    for name in dict.fromkeys(t["name"] for p in report["profiles"] for t in p["targets"]):
        found = [(p, t["attribution"]) for p in report["profiles"] for t in p["targets"] if t["name"] == name]
        heads = [f"{p['scenario']}, {p['connections']:,}" for p, _ in found]
        lines += [f"| {name}, µs per request | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(found),
                  "| all | " + " | ".join(f"**{a['cpuUsPerRequest']:.2f}**" for _, a in found) + " |"]
        for group in attribution.GROUPS:
            costs = [a["groups"][group]["usPerRequest"] for _, a in found]
            if max(costs) < 0.005:
                continue
            lines.append(f"| {group} | " + " | ".join(f"{cost:.2f}" for cost in costs) + " |")
            if group in ("kernel", "transport"):
                lines += _parts(group, [a for _, a in found])
        lines.append("")
    return lines


def _parts(group, found):
    """Rows for parts that cost something anywhere."""
    names = list(dict.fromkeys(part for a in found for part in a["groups"][group]["parts"]))
    rows = {name: [a["groups"][group]["parts"].get(name, {"usPerRequest": 0})["usPerRequest"] for a in found]
            for name in names}
    return [f"| – {re.sub(r'^MegaPipe.Kestrel.Internal.', '', name)} | " + " | ".join(
        f"{cost:.2f}" for cost in costs) + " |" for name, costs in rows.items() if max(costs) >= 0.02]


def _spread(values):
    values = list(values)
    return _range({"median": statistics.median(values), "min": min(values), "max": max(values)})


def _range(value):
    return f"{value['median']:.2f} [{value['min']:.2f}–{value['max']:.2f}]"
