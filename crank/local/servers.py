# A server under test: started in a folder as crank's agent lays it out, watched through /proc, ended by its id.
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
            with open(table, encoding="ascii") as file:
                rows = [line.split() for line in file.readlines()[1:]]
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


class Server:
    """A started target."""

    def __init__(self, name, command, folder, ports, ready_text, status_url):
        self.name = name
        self.status_url = status_url
        self._folder = folder
        self._ready_text = ready_text
        self._ports = ports
        self._log = tempfile.NamedTemporaryFile("w+", prefix=f"run-local-{name}-", suffix=".log", delete=False)
        # A session of its own: Ctrl+C in the terminal is for run-local, which ends its servers itself.
        self._process = subprocess.Popen(
            command, cwd=folder, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
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
        """User and system time of the whole process, ended threads included."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="utf-8") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except FileNotFoundError as error:
            raise RunError(f"{self.name} ended; its output:\n{self.log_tail()}") from error
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def resident_bytes(self):
        try:
            with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * PAGE_BYTES
        except (FileNotFoundError, IndexError):
            return 0

    def log_tail(self):
        with open(self._log.name, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        os.unlink(self._log.name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_ready(self):
        if self._ready_text:
            with open(self._log.name, encoding="utf-8", errors="replace") as file:
                return self._ready_text in file.read()
        with socket.socket() as probe:
            probe.settimeout(0.3)
            return probe.connect_ex(("127.0.0.1", self._ports[0])) == 0


def command_of(job):
    """A job's executable as the agent starts it: relative to the folder of its sources."""
    return [job.executable, *shlex.split(job.arguments)]
