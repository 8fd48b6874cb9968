# What all load jobs share: common arguments, the check of what served, and the statistics block for crank.
import argparse
import datetime
import json
import os
import re
import resource
import ssl
import subprocess
import sys
import time
import urllib.request

STATUS_TIMEOUT_S = 5
# A generator that has not ended this long after it should have is ended: it waits for answers that never come.
OVERTIME_S = 30

UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}

# Name in the results: (aggregate over measurements, reduce over endpoints, format, description).
KNOWN = {
    "http/rps/mean": ("Max", "Sum", "n0", "Requests/sec"),
    "http/requests": ("Max", "Sum", "n0", "Requests"),
    "http/requests/badresponses": ("Max", "Sum", "n0", "Bad responses"),
    "http/requests/errors": ("Max", "Sum", "n0", "Socket errors"),
    "http/latency/mean": ("Max", "Avg", "n3", "Mean latency (ms)"),
    "http/latency/50": ("Max", "Max", "n3", "Latency 50th (ms)"),
    "http/latency/75": ("Max", "Max", "n3", "Latency 75th (ms)"),
    "http/latency/90": ("Max", "Max", "n3", "Latency 90th (ms)"),
    "http/latency/99": ("Max", "Max", "n3", "Latency 99th (ms)"),
    "http/latency/max": ("Max", "Max", "n3", "Max latency (ms)"),
    "http/throughput": ("Max", "Sum", "n2", "Read throughput (MB/s)"),
    "http/firstrequest": ("Max", "Max", "n1", "First request (ms)"),
    "load/cpu": ("Max", "Max", "n0", "Generator CPU (% of one)"),
    "transport/served": ("First", "First", "", "Transport that served"),
    "transport/process": ("First", "First", "", "Serving process"),
    "benchmarks/cpu-us-per-request": ("Max", "Max", "n2", "Server CPU per request (us)"),
}

# Counters that go up and down: of these the last value is published, of the others what they grew by.
LEVELS = {"connections", "leases_out", "handles_live", "operations_in_flight"}


class LoadError(Exception):
    """What went wrong, in words for the person who runs the benchmark."""


def arguments(description):
    """A parser with the arguments that every load job takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", required=True)
    parser.add_argument("--status-url", default="none", help="the app's /transport; 'none' checks nothing")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--duration", type=int, default=15, help="seconds that count")
    parser.add_argument("--warmup", type=int, default=0, help="seconds before them")
    parser.add_argument("--cpus", default="0-1023", help="CPUs of the generator, as taskset takes them")
    return parser


def status(url):
    """What /transport says, or None where nobody is to be asked."""
    if url == "none":
        return None
    try:
        with urllib.request.urlopen(url, timeout=STATUS_TIMEOUT_S, context=_any_certificate()) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        raise LoadError(f"{url} does not say which transport serves: {error}") from error


def check(before, after=None):
    """Refuses results of a transport that was not asked for, or of a server that changed under way."""
    if before is None:
        return
    if before["requested"] != before["transport"]:
        reason = before.get("fallbackReason") or "no reason given"
        raise LoadError(f"{before['requested']} was asked for, but {before['transport']} serves: {reason}")
    if after is not None and after["processId"] != before["processId"]:
        raise LoadError(
            f"two processes answered ({before['processId']} and {after['processId']}): another server shares the port")


def first_request_ms(url):
    """Time of one request on a connection of its own, or None where the protocol is not HTTP/1.1."""
    start = time.perf_counter()
    try:
        with urllib.request.urlopen(url, timeout=STATUS_TIMEOUT_S, context=_any_certificate()) as answer:
            answer.read()
    except (OSError, ValueError):
        return None
    return (time.perf_counter() - start) * 1e3


def run_generator(cpus, command, seconds):
    """Runs a generator pinned to its CPUs; gives its output and the CPU seconds that it used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            ["taskset", "-c", cpus, *command], capture_output=True, text=True, timeout=seconds + OVERTIME_S,
            check=False)
    except FileNotFoundError as error:
        raise LoadError(f"{error.filename} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{command[0]} did not end {OVERTIME_S} s after its time") from error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise LoadError(f"{os.path.basename(command[0])}: {words[-2000:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def generator(name):
    """Path of one of our own generators, which crank puts beside this folder."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
    path = os.path.join(folder, "generators", name)
    if not os.path.exists(path):
        raise LoadError(f"generators/{name} is missing: crank/prepare builds it")
    if not os.access(path, os.X_OK):
        os.chmod(path, 0o755)  # an upload may have lost the mode
    return path


def parse_generator(text, cpu_seconds):
    """The JSON of our own generators as measurements."""
    try:
        report = json.loads(text)
    except ValueError as error:
        raise LoadError(f"the generator's report is not JSON:\n{text}") from error
    names = (("mean", "mean"), ("50", "p50"), ("75", "p75"), ("90", "p90"), ("99", "p99"), ("max", "max"))
    return {
        "http/requests": report["requests"],
        "http/rps/mean": report["rps"],
        "http/requests/badresponses": report["bad_responses"],
        "http/requests/errors": report["errors"],
        **{f"http/latency/{name}": report["latency_us"][key] / 1e3 for name, key in names},
        "http/throughput": report["bytes"] / report["seconds"] / 1e6,
        "load/cpu": 100 * cpu_seconds / report["seconds"],
    }


def milliseconds(text):
    """'1.47ms', '892.00us' or '2s' as milliseconds, or None."""
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text.strip())
    return float(match[1]) * UNITS_MS[match[2]] if match else None


def main(job, parsed):
    """Warm-up, run, checks, statistics block. `job(seconds)` runs the generator and gives named measurements."""
    # Ten thousand connections need as many descriptors; the generators inherit the limit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        check(status(parsed.status_url))
        first = first_request_ms(parsed.url)
        if parsed.warmup > 0:
            job(parsed.warmup)
        before = status(parsed.status_url)
        values = job(parsed.duration)
        after = status(parsed.status_url)
        check(before, after)
        if values["http/requests"] == 0:
            raise LoadError("no request was answered")
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr)
        sys.exit(1)
    values["http/firstrequest"] = first
    values.update(_server_values(before, after, values["http/requests"]))
    _print_statistics({name: value for name, value in values.items() if value is not None})


def _server_values(before, after, requests):
    if before is None:
        return {}
    # With a word before it: crank takes every value that looks like a number for one, and prints 19,298.00.
    values = {"transport/served": after["transport"], "transport/process": f"pid {after['processId']}"}
    values["benchmarks/cpu-us-per-request"] = (after["cpuSeconds"] - before["cpuSeconds"]) * 1e6 / requests
    sums = {}
    for report, sign in ((after, 1), (before, -1)):
        for channel in report["channels"]:
            for name, value in channel["counters"].items():
                if sign > 0 or name not in LEVELS:
                    sums[name] = sums.get(name, 0) + sign * value
    values.update({f"transport/{name}": value for name, value in sums.items()})
    return values


def shown(name):
    """Description and format of a published name."""
    known = KNOWN.get(name)
    return (known[3], known[2]) if known else (f"Channels: {name.split('/', 1)[1]}", "n0")


def _print_statistics(values):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    metadata, measurements = [], []
    for name, value in values.items():
        aggregate, reduce = KNOWN.get(name, ("Max", "Sum"))[:2]
        description, form = shown(name)
        metadata.append({"Source": "MegaPipe", "Name": name, "Aggregate": aggregate, "Reduce": reduce, "Format": form,
                         "ShortDescription": description, "LongDescription": description})
        measurements.append({"Name": name, "Timestamp": now, "Value": value})
    # Each on a line of its own: that is how the agent finds them.
    print("#StartJobStatistics")
    print(json.dumps({"Metadata": metadata, "Measurements": measurements}))
    print("#EndJobStatistics", flush=True)


def _any_certificate():
    # The sample makes its certificate at start; nobody can know it.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
