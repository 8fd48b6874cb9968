# Servers under test: started pinned and on ports that nobody serves, watched through /proc, ended by their ids.
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 8
# Connections on which the serving process is asked for: a second server that shares the port answers about half.
IDENTITY_PROBES = 8
# A generator that uses this much of its CPUs while the server leaves that much of its own idle was the bottleneck.
GENERATOR_BUSY = 0.95
SERVER_BUSY = 0.90
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class RunError(Exception):
    """A measurement that would not be honest, in words for the person who asked for it."""


class FatalRunError(RunError):
    """One that would spoil all scenarios alike."""


def listeners(port):
    """Number of listening TCP sockets on a port, of whichever process: with SO_REUSEPORT it can be more than one."""
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = [line.split() for line in _read(table).splitlines()[1:]]
        except FileNotFoundError:
            continue
        count += sum(1 for row in rows if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port)
    return count


def check_free(ports):
    """Must come before a server is started: afterwards its own listener is among them."""
    for port in ports:
        if listeners(port):
            raise FatalRunError(
                f"port {port} is already served by another process; with SO_REUSEPORT it would share the load. "
                "End it, or choose another --base-port")


def lay_out(sources):
    """A folder in which each source appears under its name, as on an agent."""
    folder = tempfile.mkdtemp(prefix="megapipe-crank-")
    for name, path in sources.items():
        if not os.path.isdir(path):
            shutil.rmtree(folder)
            raise FatalRunError(f"{os.path.relpath(path)} does not exist: crank/prepare builds it")
        os.symlink(path, os.path.join(folder, name))
    return folder


def pinned(cpus, command):
    """A command on these CPUs only ('0-3,8'); None: on every CPU."""
    return command if cpus is None else ["taskset", "-c", str(cpus), *command]


def rotated(items, number):
    """The order of a round: another one goes first each time, so what a visit leaves behind hits all alike."""
    shift = number % len(items)
    return [*items[shift:], *items[:shift]]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def generator_bound(generator_busy, server_busy):
    """Shares of their CPUs, 0 to 1."""
    return generator_busy >= GENERATOR_BUSY and server_busy < SERVER_BUSY


class Server:
    """A started target."""

    def __init__(self, name, command, ports, sources=None, ready_text="", status_url=None, maybe_status_url=None,
                 threads_end=True):
        """The address of its /transport is certain, or to be tried."""
        check_free(ports)
        self.name = name
        self.port = ports[0]
        self.status_url = status_url
        self._maybe_status_url = maybe_status_url
        self._ready_text = ready_text
        self._threads_end = threads_end
        self._folder = lay_out(sources) if sources else None
        self._log = tempfile.NamedTemporaryFile("w+", prefix=f"megapipe-{name}-", suffix=".log", delete=False)
        try:
            # A session of its own: Ctrl+C in the terminal is for the runner, which ends its servers itself.
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
        except FileNotFoundError as error:
            self._tidy()
            raise FatalRunError(f"{os.path.relpath(error.filename)} does not exist: crank/prepare builds it") from error
        self.pid = self._process.pid

    def wait_until_ready(self):
        end = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None:
                raise FatalRunError(f"{self.name} ended at start; its output:\n{self.log_tail()}")
            if time.monotonic() > end:
                raise FatalRunError(
                    f"{self.name} did not start within {START_TIMEOUT_S} s; its output:\n{self.log_tail()}")
            time.sleep(0.05)

    def check_identity(self):
        """Refuses a transport that was not asked for, and another server on the port."""
        if self._maybe_status_url and self._answers_as_the_app():
            self.status_url = self._maybe_status_url
        if self.status_url is None:
            return
        # A listener may belong to another process that came between: ask on several connections who answers.
        for _ in range(IDENTITY_PROBES):
            report = self.status()
            if report["requested"] != report["transport"]:
                raise FatalRunError(
                    f"{report['requested']} was asked for, but {report['transport']} serves: "
                    f"{report.get('fallbackReason') or 'no reason given'}")
            if report["processId"] != self.pid:
                raise FatalRunError(f"process {report['processId']} answers on {self.name}'s port too: end it first")

    def _answers_as_the_app(self):
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(self._maybe_status_url, timeout=START_TIMEOUT_S) as answer:
                report = json.load(answer)
                # Not what a gateway has from the app behind it.
                return isinstance(report, dict) and report.get("processId") == self.pid
        return False

    def check_way_out(self):
        """Refuses a gateway that serves through MegaPipe and asks its backend through something else."""
        report = self.status() if self.status_url else {}
        if report.get("transport") == "megapipe" and not any(
                channel["counters"]["connected"] for channel in report["channels"]):
            raise FatalRunError(f"{self.name} made no outgoing connection on a channel")

    def status(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with urllib.request.urlopen(self.status_url, timeout=START_TIMEOUT_S, context=context) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            raise FatalRunError(
                f"{self.name}: {self.status_url} does not say which transport serves: {error}") from error

    def cpu_seconds(self):
        """User and system time of the whole process, ended threads included. Of a server whose threads stay, the
        scheduler's own account, in ns; the other one counts ticks of 10 ms."""
        try:
            if not self._threads_end:
                return sum(int(_read(f"/proc/{self.pid}/task/{thread}/schedstat").split()[0])
                           for thread in self._threads()) / 1e9
            fields = _read(f"/proc/{self.pid}/stat").rsplit(")", 1)[1].split()
        except OSError as error:
            raise RunError(f"{self.name} ended; its output:\n{self.log_tail()}") from error
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def resident_bytes(self):
        try:
            return int(_read(f"/proc/{self.pid}/statm").split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0

    @contextlib.contextmanager
    def on_every_cpu(self):
        """Meanwhile its threads may use every CPU; afterwards each has its own again, new ones the main thread's."""
        own = {thread: os.sched_getaffinity(thread) for thread in self._threads()}
        for thread in own:
            self._allow(thread, os.sched_getaffinity(0))
        try:
            yield
        finally:
            for thread in self._threads():
                self._allow(thread, own.get(thread, own.get(self.pid)))

    def compiled_methods(self):
        """Methods that its runtime has compiled so far; None where it does not say."""
        return self.status().get("compiledMethods") if self.status_url else None

    def log_tail(self):
        return _read(self._log.name)[-2000:]

    def stop(self):
        """Ends it, by force where it does not end; gives all that it wrote."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        said = _read(self._log.name)
        self._tidy()
        return said

    def _tidy(self):
        self._log.close()
        os.unlink(self._log.name)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _threads(self):
        with contextlib.suppress(FileNotFoundError):
            return [int(name) for name in os.listdir(f"/proc/{self.pid}/task")]
        return []

    @staticmethod
    def _allow(thread, cpus):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(thread, cpus)

    def _is_ready(self):
        if self._ready_text:
            return self._ready_text in _read(self._log.name)
        with socket.socket() as probe:
            probe.settimeout(0.3)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def command_of(job):
    """A job's executable as the agent starts it: relative to the folder of its sources."""
    return [job.executable, *shlex.split(job.arguments)]


def stop_all(started):
    for server in started:
        server.stop()


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
