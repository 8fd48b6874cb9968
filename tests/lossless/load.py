"""Clients that open a connection for each request and know what became of every one, and the server that they ask."""
import collections
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
APP = os.path.join(ROOT, 'artifacts', 'webapp', 'WebApp')
REQUEST = b'GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
START_SECONDS = 30
STOP_SECONDS = 40
ANSWER_SECONDS = 20
# A connect that takes as long had its first packet dropped: the kernel asks again after a second.
SLOW_SECONDS = 0.9


class Outcome:
    """What became of requests."""

    def __init__(self):
        self.answered = self.refused = self.lost = self.slow = 0
        self.longest_seconds = 0.0
        self.reasons = collections.Counter()

    def add(self, other):
        self.answered += other.answered
        self.refused += other.refused
        self.lost += other.lost
        self.slow += other.slow
        self.longest_seconds = max(self.longest_seconds, other.longest_seconds)
        self.reasons += other.reasons

    def __str__(self):
        why = ', '.join(f'{count} {reason}' for reason, count in self.reasons.most_common())
        return (f'{self.lost} lost{f" ({why})" if why else ""}, {self.refused} refused, {self.answered} answered, '
                f'longest {self.longest_seconds * 1000:.0f} ms, {self.slow} connects asked twice')


def ask(address, outcome):
    """One request on a connection of its own. False when nobody listens."""
    start = time.monotonic()
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            outcome.refused += 1
            return False
        except OSError as error:
            outcome.lost += 1
            outcome.reasons[f'connect: {type(error).__name__}'] += 1
            return True
        outcome.slow += time.monotonic() - start > SLOW_SECONDS
        answer = b''
        try:
            connection.sendall(REQUEST)
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
        except OSError as error:
            outcome.lost += 1
            outcome.reasons[f'{type(error).__name__} after {len(answer)} bytes'] += 1
            return True
        if answer.startswith(b'HTTP/1.1 200 ') and answer.endswith(b'Hello, World!'):
            outcome.answered += 1
            outcome.longest_seconds = max(outcome.longest_seconds, time.monotonic() - start)
        else:
            outcome.lost += 1
            outcome.reasons[f'end after {len(answer)} bytes'] += 1
        return True


class Crowd:
    """Clients in threads, until they are told to stop, or each until it has been refused or lost."""

    def __init__(self, address, clients, until_refused):
        self._address = address if isinstance(address, str) else ('127.0.0.1', address)
        self._until_refused = until_refused
        self._stopping = False
        self._outcomes = [Outcome() for _ in range(clients)]
        self._threads = [threading.Thread(target=self._run, args=(outcome,)) for outcome in self._outcomes]
        for thread in self._threads:
            thread.start()

    def _run(self, outcome):
        while not self._stopping:
            listened = ask(self._address, outcome)
            if self._until_refused and (outcome.lost or not listened):
                return

    def stop(self):
        self._stopping = True
        return self.join()

    def join(self):
        total = Outcome()
        for thread, outcome in zip(self._threads, self._outcomes):
            thread.join()
            total.add(outcome)
        return total


class Server:
    """The sample in a process of its own."""

    def __init__(self, transport, port, arguments, url=None):
        if not os.access(APP, os.X_OK):
            sys.exit('artifacts/webapp is not there: crank/prepare builds it')
        self._port = port
        self._log = tempfile.TemporaryFile('w+')
        self._process = subprocess.Popen(
            [APP, '--transport', transport, '--urls', url or f'http://127.0.0.1:{port}', *arguments],
            stdout=self._log, stderr=subprocess.STDOUT)

    def __enter__(self):
        self.wait_until('Application started')
        return self

    def wait_until(self, text):
        end = time.monotonic() + START_SECONDS
        while text not in self.said():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                sys.exit(f'the sample has not said “{text}”:\n{self.said()}')
            time.sleep(0.02)

    def said(self):
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors='replace')

    def terminate(self):
        self._process.send_signal(signal.SIGTERM)

    def wait(self):
        return self._process.wait(STOP_SECONDS)

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *_):
        try:
            self.terminate()
            self.wait()
        finally:
            self.kill()
            self._log.close()


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]
