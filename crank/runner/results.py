# Turns rounds into summaries, a Markdown table, and files that `crank compare` reads.
import contextlib
import datetime
import json
import os
import platform
import statistics
import sys

from .rounds import FOREIGN_BUSY

# Settings that change what code is measured; other variables of the environment say nothing of it.
_SETTINGS = ("System.GC.", "System.Runtime.Tiered", "System.Threading.", "DOTNET_GC", "DOTNET_gc", "DOTNET_Tiered",
             "DOTNET_TC_", "DOTNET_TieredPGO", "DOTNET_ReadyToRun", "DOTNET_ThreadPool", "DOTNET_PerfMap",
             "DOTNET_EnableWriteXorExecute", "DOTNET_SYSTEM_NET_SOCKETS")

# The names and formats of what load jobs publish: they stand beside the jobs, where crank uploads them.
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "load"))
import load_job  # noqa: E402

# From here on the memory of a connection stands out from that of the process.
MANY_CONNECTIONS = 1000

COLUMNS = ["scenario", "target", "CPU µs/request", "ratio", "requests/s", "ratio", "p50 ms", "p99 ms", "peak MiB",
           "remarks"]


def summarize(scenario):
    """Adds medians, ranges and ratios (round by round, to the first target) to a scenario's results."""
    first = scenario["targets"][0]["rounds"]
    for target in scenario["targets"]:
        rounds = target["rounds"]
        # Where the generator was the bottleneck, requests a second say nothing about the server; CPU still does.
        bound = sum(a["generatorBound"] for a in rounds)
        target["summary"] = {
            "cpuUsPerRequest": spread(a["cpuUsPerRequest"] for a in rounds),
            "rps": spread(a["rps"] for a in rounds),
            "peakMiB": spread(a["peakBytes"] / 2**20 for a in rounds),
            "cpuRatio": spread(a["cpuUsPerRequest"] / b["cpuUsPerRequest"] for a, b in zip(rounds, first)
                               if b["cpuUsPerRequest"]),
            "rpsRatio": spread(a["rps"] / b["rps"] for a, b in zip(rounds, first)),
            "latencyMs": {key: spread(a["latencyMs"][key] for a in rounds) for key in rounds[0]["latencyMs"]},
            "serverBusy": statistics.median(a["serverBusy"] for a in rounds),
            "generatorBusy": statistics.median(a["generatorBusy"] for a in rounds),
            "foreignBusy": statistics.median(a["foreignBusy"] for a in rounds),
            "faults": sum(a["badResponses"] + a["errors"] for a in rounds),
            "generatorBound": bound * 2 > len(rounds),
        }
        target["flags"] = flags(target["summary"]) + unsettled(target["steady"])
        connections = int(scenario["settings"]["connections"])
        if connections >= MANY_CONNECTIONS:
            grown = target["summary"]["peakMiB"]["median"] * 1024 - target["restBytes"] / 1024
            target["summary"]["kibPerConnection"] = grown / connections
            target["flags"].append(f"{grown / connections:.1f} KiB a connection")


def spread(values):
    values = list(values)
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def flags(summary):
    found = []
    if summary["generatorBound"]:
        found.append("GENERATOR-BOUND")
    if summary["faults"]:
        found.append(f"{summary['faults']} FAULTS")
    if summary["foreignBusy"] > FOREIGN_BUSY:
        found.append(f"noisy: {summary['foreignBusy']:.0%} of the server's CPU went to others")
    return found


def unsettled(steady):
    if steady["settled"] is not False:
        return []
    return [f"NOT SETTLED: {steady['compiledMeanwhile']} methods compiled meanwhile"]


def state(report):
    """Which state was measured, in a sentence."""
    found = [target["steady"] for scenario in report["scenarios"] for target in scenario["targets"]]
    asked = [steady for steady in found if steady["settled"] is not None]
    if not asked:
        return "State: unknown, no target says how many methods its runtime has compiled."
    most = max(steady["compiledMeanwhile"] for steady in asked)
    quiet = sum(steady["secondsOfQuiet"] >= report["settle"] for steady in asked) if report["settle"] else 0
    return (f"State: {sum(steady['settled'] for steady in asked)} of {len(asked)} targets were settled while measured "
            f"({quiet} had compiled few methods for {report['settle']} s of load before; at most {most} methods were "
            f"compiled within the rounds). {len(found) - len(asked)} targets do not say.")


def runtime_settings(artifacts):
    """Which .NET was measured with which settings, in a sentence: those of the app, and those of the environment."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        with open(os.path.join(artifacts, "webapp", "WebApp.runtimeconfig.json"), encoding="utf-8") as file:
            options = json.load(file)["runtimeOptions"]
        names = {**options.get("configProperties", {}),
                 **{name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}}
        own = [f"{name}={str(value).lower()}" for name, value in sorted(names.items()) if name.startswith(_SETTINGS)]
        return (f".NET settings: {', '.join(own) or 'none of its own'}; all others are defaults (tiered compilation "
                "with profiles of the first tiers, precompiled framework).")
    return ".NET settings: unknown."


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    return {"cpu": model, "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "date": datetime.date.today().isoformat()}


def markdown(report):
    """The table that belongs into documentation."""
    lines = [f"# Local run, {report['machine']['date']}", "",
             f"{report['machine']['cpus']} CPUs ({report['machine']['cpu']}), Linux {report['machine']['kernel']}; "
             f"{report['rounds']} interleaved rounds of {report['seconds']} s; server on CPU {report['serverCpus']}, "
             f"load on CPU {report['loadCpus']}. Median [min–max]; ratios are taken round by round.", "",
             state(report), "", report["runtimeSettings"], "", f"Repeat with: `{report['command']}`", "",
             "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for scenario in report["scenarios"]:
        for i, target in enumerate(scenario["targets"]):
            s = target["summary"]
            latency = s["latencyMs"]
            rps_ratio = "–" if s["generatorBound"] else _range(s["rpsRatio"], ".2f")
            lines.append("| " + " | ".join([
                scenario["name"] if i == 0 else "", target["name"], _range(s["cpuUsPerRequest"], ".2f"),
                _range(s["cpuRatio"], ".2f"), _range(s["rps"], ",.0f"), rps_ratio,
                _median(latency.get("50"), ".2f"), _median(latency.get("99"), ".2f"),
                _median(s["peakMiB"], ".0f"), "; ".join(target["flags"])]) + " |")
    for failure in report["failures"]:
        lines += ["", f"**{failure['scenario']} failed:** {failure['error'].splitlines()[0]}"]
    return "\n".join(lines) + "\n"


def crank_result(scenario, target, settings):
    """One target of a scenario in the shape that the crank controller writes with --json: what crank's agent measures
    under `application`, what the load job publishes under `load`, each with crank's meaning."""
    s, rounds = target["summary"], target["rounds"]
    latency = s["latencyMs"]
    raw = max(a["serverCpuPercent"] for a in rounds)
    application = [
        ("benchmarks/cpu", "Max Process CPU Usage (%)", "n0", raw / len(os.sched_getaffinity(0))),
        ("benchmarks/cpu/raw", "Max Cores usage (%)", "n0", raw),
        ("benchmarks/working-set", "Max Working Set (MB)", "n0", s["peakMiB"]["max"]),
    ]
    published = {
        "http/requests": sum(a["requests"] for a in rounds),
        "http/requests/badresponses": sum(a["badResponses"] for a in rounds),
        "http/requests/errors": sum(a["errors"] for a in rounds),
        "http/rps/mean": s["rps"]["median"],
        **{f"http/latency/{key}": value["median"] for key, value in latency.items() if value},
        "http/throughput": _middle(a["throughputMBs"] for a in rounds),
        "http/firstrequest": _middle(a["firstRequestMs"] for a in rounds),
        "load/cpu": _middle(a["generatorCpuPercent"] for a in rounds),
        "transport/served": rounds[0]["served"] or target["name"],
        "transport/process": rounds[0]["process"],
        "benchmarks/cpu-us-per-request": s["cpuUsPerRequest"]["median"],
        **{f"transport/{name}": rounds[-1]["counters"][name] if name in load_job.LEVELS
           else sum(a["counters"][name] for a in rounds) for name in rounds[0]["counters"]},
    }
    load = [(name, *load_job.shown(name), value) for name, value in published.items() if value is not None]
    return {"returnCode": 0, "jobResults": {
        "jobs": {"application": _crank_job(application, {}), "load": _crank_job(load, settings)},
        "properties": {"scenario": scenario["name"], "target": target["name"]}}, "benchmarks": []}


def write(report, folder):
    """results.json, results.md and one crank file for each scenario and target."""
    os.makedirs(os.path.join(folder, "crank"), exist_ok=True)
    with open(os.path.join(folder, "results.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    with open(os.path.join(folder, "results.md"), "w", encoding="utf-8") as file:
        file.write(markdown(report))
    for scenario in report["scenarios"]:
        for target in scenario["targets"]:
            path = os.path.join(folder, "crank", f"{scenario['name']}.{target['name']}.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(crank_result(scenario, target, scenario["settings"]), file, indent=2)


def _crank_job(rows, variables):
    return {"results": {name: value for name, _, _, value in rows},
            "metadata": [{"name": name, "description": text, "format": form} for name, text, form, _ in rows],
            "dependencies": [], "measurements": [], "environment": {}, "variables": variables, "benchmarks": []}


def _range(value, form):
    return "" if value is None else f"{value['median']:{form}} [{value['min']:{form}}–{value['max']:{form}}]"


def _middle(values):
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def _median(value, form):
    return "" if value is None else f"{value['median']:{form}}"
