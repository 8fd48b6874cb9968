# Measures one scenario: all targets run at once, and the load visits them in turn, so that noise hits all alike.
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time

from . import configuration as conf
from . import servers
from .servers import FatalRunError, RunError

# Ports of a target: HTTP(S) and cleartext HTTP/2.
PORTS_PER_TARGET = 2
SAMPLE_S = 0.05
# No more than these compiled in a second, and the code counts as settled. While it settles, bursts of hundreds come
# with up to six seconds between them; afterwards there are up to ten in a second, of what runs once a visit.
FEW_METHODS = 30
# So often the server is asked for its state at each visit of the warm-up: thirty calls make a method hot, and those
# that answer this question would be compiled again later, in the middle of the rounds.
STATUS_CALLS = 30
# More than this on the server's CPUs by other processes, and the machine was not ours.
FOREIGN_BUSY = 0.10
# The load jobs run in this interpreter too: wrappers around Python (pyenv) cost a tenth of a second at each visit.
_ENVIRONMENT = {**os.environ, "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}


class Target:
    """A job of the YAML files; NAME=JOB@FOLDER, the same of another build; or NAME=COMMAND, with {port} in it."""

    def __init__(self, text, load=None):
        """`load` gives the configuration with the artifacts of a folder."""
        self.name, _, rest = text.partition("=")
        build = re.fullmatch(r"([\w-]+)@(\S+)", rest)
        self.command = "" if build else rest
        self.job = build[1] if build else self.name
        self.config = load(os.path.abspath(build[2])) if build and load else None

    def fits(self, load):
        """A plain command speaks HTTP/1.1 without TLS; nothing more is known about it."""
        return not self.command or (load.variables.get("serverScheme") == "http" and load.name in ("wrk", "mp-load"))


class Scenario:
    """One scenario over all targets."""

    def __init__(self, config, name, targets, options, progress):
        self.name = name
        self.skipped = []
        self._options = options
        self._progress = progress
        self._runs = []  # (target, application job, load job, [ports])
        self._backend = None  # a job that all targets ask
        self._backend_port = options.base_port + len(targets) * PORTS_PER_TARGET
        for index, target in enumerate(targets):
            port = options.base_port + index * PORTS_PER_TARGET
            variables = {
                "duration": options.seconds, "warmup": 0, "serverCpus": options.server_cpus,
                "loadCpus": options.load_cpus, **options.variables, "serverPort": port, "h2cPort": port + 1,
                "backendPort": self._backend_port}
            jobs = {} if target.command else {"application": target.job}
            jobs = conf.resolve(target.config or config, name, options.profiles, variables, jobs)
            self._backend = jobs.get("backend")
            if not target.fits(jobs["load"]):
                self.skipped.append(target.name)
                continue
            self._runs.append((target, jobs["application"], jobs["load"], [port, port + 1]))
        if not self._runs:
            raise RunError("no target can serve this scenario")
        self.settings = {
            key: value for key, value in self._runs[0][2].variables.items()
            if not key.endswith(("Port", "Cpus", "Address"))}

    def measure(self, watch=None):
        """Rounds of visits; gives the result of each target, first target first. Where something is to `watch` a server
        at work, as `with watch(server, result):`, it sees as many visits more after the rounds."""
        started, folder = [], None
        try:
            folder = servers.lay_out(self._runs[0][2].sources)
            if self._backend:
                started.append(self._start_backend())
            under_test = [self._start(*run, started) for run in self._runs]
            for server in under_test:
                server.wait_until_ready()
                server.check_identity()
            visits = list(zip(self._runs, under_test, [
                {"name": server.name, "rounds": [], "restBytes": server.resident_bytes()} for server in under_test]))
            for _ in range(self._options.warmup_visits):
                for run, server, _ in visits:
                    self._visit(run, server, folder)
                    self._progress.step(server.name, "warm-up")
            self._settle(visits, folder)
            for number in range(self._options.rounds):
                for run, server, result in servers.rotated(visits, number):
                    result["rounds"].append(self._visit(run, server, folder))
                    self._progress.step(server.name, f"round {number + 1}")
            for _, server, result in visits:
                result["steady"] = self._steady(server, result["steady"])
            for run, server, result in visits if watch else []:
                with watch(server, result):
                    result["watched"] = [self._visit(run, server, folder) for _ in range(self._options.rounds)]
            if self._backend:
                for server in under_test:
                    server.check_way_out()
            return [result for _, _, result in visits]
        finally:
            servers.stop_all(started)
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def measure_cold(self):
        """Visits of one target after the other, each from its first request on and pinned as it is measured warm."""
        results = []
        for run in self._runs:
            started, folder = [], None
            try:
                folder = servers.lay_out(run[2].sources)
                if self._backend:
                    started.append(self._start_backend())
                server = self._start(*run, started)
                server.wait_until_ready()
                result = {"name": server.name, "visits": []}
                for number in range(self._options.rounds):
                    result["visits"].append(self._visit(run, server, folder))
                    if number == 0:  # not before the first request: it would warm up what is measured
                        server.check_identity()
                    result["visits"][-1]["compiled"] = server.compiled_methods()
                    self._progress.step(server.name, f"second {number + 1}")
                results.append(result)
            finally:
                servers.stop_all(started)
                if folder:
                    shutil.rmtree(folder, ignore_errors=True)
        return results

    def _settle(self, visits, folder):
        """Further visits in turn, until each runtime has compiled few methods for so many seconds of load, or the limit
        is reached: hot methods are compiled again with what was learned of them, for many seconds after the start. The
        compiler starves on a CPU that the load fills, so meanwhile the servers may use every CPU."""
        with contextlib.ExitStack() as meanwhile:
            for _, server, result in visits:
                meanwhile.enter_context(server.on_every_cpu())
                compiled = server.compiled_methods()
                result["steady"] = {"secondsOfSettling": 0, "secondsOfQuiet": 0, "compiledBefore": compiled,
                                    "compiledByVisit": [] if compiled is None else [compiled]}
            while waiting := [visit for visit in visits if self._is_to_settle(visit[2]["steady"])]:
                for run, server, result in waiting:
                    self._visit(run, server, folder)
                    self._progress.step(server.name, "settling", extra=True)
                    for _ in range(STATUS_CALLS):
                        server.status()
                    steady, now = result["steady"], server.compiled_methods()
                    seconds = self._options.seconds
                    is_quiet = now - steady["compiledBefore"] <= FEW_METHODS * seconds
                    steady["secondsOfQuiet"] = steady["secondsOfQuiet"] + seconds if is_quiet else 0
                    steady["secondsOfSettling"] += seconds
                    steady["compiledByVisit"].append(now - steady["compiledBefore"])
                    steady["compiledBefore"] = now

    def _is_to_settle(self, steady):
        return (steady["compiledBefore"] is not None and steady["secondsOfQuiet"] < self._options.settle
                and steady["secondsOfSettling"] < self._options.settle_limit)

    def _steady(self, server, steady):
        """What became of it: whether little was compiled while it was measured."""
        before = steady["compiledBefore"]
        meanwhile = None if before is None else server.compiled_methods() - before
        few = FEW_METHODS * self._options.seconds * self._options.rounds
        return {**steady, "compiledMeanwhile": meanwhile, "settled": None if before is None else meanwhile <= few}

    def _start_backend(self):
        server = servers.Server(
            self._backend.name, servers.command_of(self._backend), [self._backend_port], self._backend.sources,
            self._backend.ready_text)
        try:
            server.wait_until_ready()
        except RunError:
            server.stop()
            raise
        return server

    def _start(self, target, application, load, ports, started):
        """Starts a target, which is to be ended with the others."""
        if target.command:
            text = target.command.replace("{port}", str(ports[0])).replace("{backend}", str(self._backend_port))
            command = servers.pinned(self._options.server_cpus, shlex.split(text))
            server = servers.Server(
                target.name, command, ports[:1], maybe_status_url=f"http://127.0.0.1:{ports[0]}/transport")
        else:
            url = "{serverScheme}://{serverAddress}:{serverPort}/transport".format(**load.variables)
            server = servers.Server(
                target.name, servers.command_of(application), ports, application.sources, application.ready_text, url)
        started.append(server)
        return server

    def _visit(self, run, server, folder):
        target, _, load, _ = run
        # The job itself too: its start would be noise on the server's CPUs.
        command = servers.pinned(self._options.load_cpus, servers.command_of(load))
        if not server.status_url:
            command += ["--status-url", "none"]
        cpus = conf.cpus(self._options.server_cpus)
        peak = _Peak(server)
        busy_before, cpu_before, start = _busy_seconds(cpus), server.cpu_seconds(), time.monotonic()
        with peak:
            done = subprocess.run(command, cwd=folder, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
        used = server.cpu_seconds() - cpu_before
        foreign = _busy_seconds(cpus) - busy_before - used
        elapsed = time.monotonic() - start
        if done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip()
            raise (FatalRunError if "serves" in words or "shares" in words else RunError)(f"{server.name}: {words}")
        values = statistics_block(done.stdout)
        if server.status_url and values["transport/process"] != f"pid {server.pid}":
            raise FatalRunError(f"{values['transport/process']} answered on {server.name}'s port: end it first")
        requests = values["http/requests"]
        seconds = requests / values["http/rps/mean"]
        server_busy = used / seconds / len(cpus)
        generator_busy = values["load/cpu"] / 100 / len(conf.cpus(self._options.load_cpus))
        return {
            "requests": requests, "seconds": seconds, "rps": values["http/rps/mean"],
            "cpuUsPerRequest": used * 1e6 / requests,
            "latencyMs": {key.rsplit("/", 1)[1]: value for key, value in values.items()
                          if key.startswith("http/latency/")},
            "badResponses": values["http/requests/badresponses"], "errors": values["http/requests/errors"],
            "throughputMBs": values.get("http/throughput"), "firstRequestMs": values.get("http/firstrequest"),
            "peakBytes": peak.bytes, "serverBusy": server_busy, "generatorBusy": generator_busy,
            # As crank counts: of one CPU.
            "serverCpuPercent": 100 * used / seconds, "generatorCpuPercent": values["load/cpu"],
            "foreignBusy": max(0.0, foreign / elapsed / len(cpus)),
            "generatorBound": servers.generator_bound(generator_busy, server_busy),
            "served": values.get("transport/served"), "process": values.get("transport/process"),
            "counters": {key.split("/", 1)[1]: value for key, value in values.items()
                         if key.startswith("transport/") and key not in ("transport/served", "transport/process")},
        }


def statistics_block(text):
    """The values between the markers that crank's agent looks for."""
    start, end = text.find("#StartJobStatistics"), text.find("#EndJobStatistics")
    if start < 0 or end < start:
        raise RunError(f"the load job printed no statistics block:\n{text[-2000:]}")
    block = json.loads(text[start + len("#StartJobStatistics"):end])
    return {measurement["Name"]: measurement["Value"] for measurement in block["Measurements"]}


class _Peak:
    """Largest resident memory of a server during a visit."""

    def __init__(self, server):
        self.bytes = 0
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while True:
            self.bytes = max(self.bytes, self._server.resident_bytes())
            if self._over.wait(SAMPLE_S):
                return


def _busy_seconds(cpus):
    """Time that these CPUs were not idle, for all processes."""
    names = {f"cpu{number}" for number in cpus}
    total = 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if fields[0] in names:
                user, nice, system, _, _, irq, softirq = map(int, fields[1:8])
                total += user + nice + system + irq + softirq
    return total / servers.TICKS_PER_SECOND
