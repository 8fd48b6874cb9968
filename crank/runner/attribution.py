# Where the CPU time of a server goes: the samples of `perf script` by group and part, and microseconds per request.
# As a program: attribution.py SAMPLES [GROUP]   prints the groups, parts and symbols of such a file as JSON.
import collections
import json
import os
import re
import sys

GROUPS = ["kernel", "runtime", "BCL", "pipelines", "Kestrel", "transport", "TLS", "application", "unknown"]

# The first that a frame of the call chain fits. What a send delivers over loopback, the receiver's TCP included, is
# within the send; whoever waits or is switched within a wait is a switch, not epoll or io_uring.
KERNEL_PARTS = [
    ("close", r"(tcp_close|__fput|inet_release|inet_shutdown|io_close|io_shutdown|__sys_shutdown|sock_close)"),
    ("accept", r"(io_accept|do_accept|__sys_accept4|inet_csk_accept)"),
    ("send", r"(io_send|io_sendmsg|io_send_zc|sock_sendmsg|sock_write_iter|__sys_sendto|__sys_sendmsg|tcp_sendmsg)$"),
    ("receive", r"(io_recv|io_recvmsg|sock_recvmsg|sock_read_iter|__sys_recvfrom|__sys_recvmsg|tcp_recvmsg)$"),
    ("futex", r"(do_futex|__x64_sys_futex|__arm64_sys_futex)"),
    ("memory", r"(exc_page_fault|asm_exc_page_fault|do_mmap|__x64_sys_madvise|__x64_sys_munmap)"),
    ("switch", r"(schedule|__schedule|schedule_timeout|schedule_hrtimeout_range.*|preempt_schedule.*)$"),
    ("epoll", r"(do_epoll_wait|do_epoll_ctl|__x64_sys_epoll.*|ep_poll.*)$"),
    ("eventfd", r"eventfd_(read|write)"),
    ("io_uring", r"(io_|__io_|__do_sys_io_uring|tctx_task_work)"),
    ("interrupt", r"(asm_sysvec|sysvec_|asm_common_interrupt|irq_exit)"),
]
_KERNEL_PARTS = [(name, re.compile(pattern)) for name, pattern in KERNEL_PARTS]

# As the runtime writes methods into its map: `instance void [Assembly] Namespace.Type::Method(arguments)[Tier]`. The
# names of assemblies before types of arguments and results have no space behind them.
_METHOD = re.compile(r"(?:^| )\[([\w.\-]+)\] ([^ ]+?)::([^(]+)\(.*?(?:\[([A-Za-z0-9\-]+)\])?$")
_FRAME = re.compile(r"^\s+([0-9a-f]+) (.*) \(((?:[^()]|\(deleted\))*)\)$")
_TLS_LIBRARIES = ("libssl", "libcrypto", "libSystem.Security.Cryptography.Native")
_TLS_ASSEMBLIES = ("System.Net.Security", "System.Security.Cryptography")
_RUNTIME_LIBRARIES = ("libc.so", "libc-", "libpthread", "libm.so", "libstdc++", "libgcc", "ld-linux", "ld-musl",
                      "[vdso]")
# Their code is not what settles: it counts for methods that are about to be compiled again, or is unoptimized.
UNSETTLED_TIERS = {"Tier0", "QuickJitted", "MinOpts", "Instrumented", "InstrumentedTier", "InstrumentedTierOptimized",
                   "PreStub", "OptimizedTier1OSR"}


class Samples:
    """What was found in one `perf script`: counts of samples."""

    def __init__(self):
        self.total = 0
        self.unsettled = 0
        self.parts = collections.Counter()    # (group, part)
        self.symbols = collections.Counter()  # (group, part, symbol)

    def add(self, frames):
        """One sample: (symbol, object) of each frame, innermost first."""
        group, part, symbol, tier = place(frames)
        self.total += 1
        self.unsettled += tier in UNSETTLED_TIERS
        self.parts[group, part] += 1
        self.symbols[group, part, symbol] += 1

    def group(self, name):
        return sum(count for (group, _), count in self.parts.items() if group == name)

    def report(self, cpu_us_per_request, symbols_of_each_part=40):
        """Microseconds per request of each group, part and symbol; what costs most first."""
        def cost(count):
            return round(cpu_us_per_request * count / self.total, 4) if self.total else 0.0

        found = {"samples": self.total, "cpuUsPerRequest": cpu_us_per_request,
                 "unsettledUsPerRequest": cost(self.unsettled), "groups": {}}
        for name in GROUPS:
            parts = [(part, count) for (group, part), count in self.parts.most_common() if group == name]
            found["groups"][name] = {"usPerRequest": cost(sum(count for _, count in parts)), "parts": {
                part: {"usPerRequest": cost(count), "symbols": {
                    symbol: cost(times) for (group, of, symbol), times in self.symbols.most_common()
                    if group == name and of == part}} for part, count in parts}}
            for part in found["groups"][name]["parts"].values():
                part["symbols"] = dict(list(part["symbols"].items())[:symbols_of_each_part])
        return found


def read(lines):
    """Samples of the output of `perf script -F comm,tid,ip,sym,dso`: a line for the thread, one for each frame, and an
    empty one."""
    samples, frames, inside = Samples(), [], False
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if inside:
                samples.add(frames)
            frames, inside = [], False
        elif match := _FRAME.match(line):
            frames.append((match[2], match[3]))
        elif not line.startswith("#"):
            inside = True
    if inside:
        samples.add(frames)
    return samples


def place(frames):
    """Group, part, symbol and tier of a sample, by the frame that ran; the kernel's by what was asked of it."""
    if not frames:
        return "unknown", "no frame", "no frame", None
    symbol, library = frames[0]
    base = os.path.basename(library)
    if library.startswith("[kernel") or library.startswith("[guest.kernel") or library.endswith(".ko"):
        return "kernel", _kernel_part([name for name, where in frames if "kernel" in where]), symbol, None
    method = _METHOD.search(symbol)
    if method:
        group, part = _managed(method[1], method[2])
        return group, part, f"{_short(method[2])}::{method[3]}", method[4]
    if base.endswith(".dll"):  # precompiled code that was not compiled again: no names of methods
        return (*_managed(base[:-4], base[:-4] + "."), f"precompiled code of {base}", None)
    return (*_native(base, symbol), None)


def _kernel_part(chain):
    for name, pattern in _KERNEL_PARTS:
        if any(pattern.match(frame) for frame in chain):
            return name
    return "other"


def _managed(assembly, type_name):
    space = _namespace(type_name)
    if assembly in _TLS_ASSEMBLIES or assembly.startswith("System.Security.Cryptography"):
        return "TLS", assembly
    if assembly.startswith("MegaPipe."):
        return "transport", space if space.startswith("MegaPipe.") else assembly
    if assembly == "Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets" or assembly == "System.Net.Sockets":
        return "transport", assembly
    if assembly == "System.IO.Pipelines":
        return "pipelines", assembly
    if assembly.startswith("Microsoft."):
        return "Kestrel", space or assembly
    if assembly.startswith("System.") or assembly in ("mscorlib", "netstandard"):
        return "BCL", space or assembly
    return "application", assembly


def _native(base, symbol):
    if base.startswith("libmegapipe"):
        return "transport", "libmegapipe", symbol
    if base.startswith("libSystem.Native"):  # of the stock transport, the shim of its system calls
        return "runtime", "libSystem.Native", symbol
    if base.startswith(_TLS_LIBRARIES):
        return "TLS", base, symbol
    if base == "libclrjit.so":
        return "runtime", "JIT compiler", symbol
    if base.startswith("libclrgc"):
        return "runtime", "GC", symbol
    if base.startswith("libcoreclr") or base.startswith("libhost"):
        return "runtime", "coreclr", symbol
    if base.startswith(_RUNTIME_LIBRARIES):
        return "runtime", "libc", symbol
    if base.startswith("perf-") or base.startswith("[anon") or "doublemapper" in base or base == "//anon":
        return "runtime", "stubs", re.sub(r"^stub<\d+> ", "stub ", symbol)
    if base in ("[unknown]", "inlined"):
        return "unknown", base, symbol
    return "transport", base, symbol  # a program in C: what is not the kernel's or libc's is its own


def _namespace(type_name):
    """Of `A.B.Type`1+Nested[Argument]`: A.B"""
    return re.split(r"[`+/\[<]", type_name, maxsplit=1)[0].rpartition(".")[0]


def _short(type_name):
    """The type without its namespace and the arguments of generic types."""
    bare = re.sub(r"\[.*\]", "", type_name)
    head, *rest = re.split(r"(?=[`+/])", bare, maxsplit=1)
    return head.rpartition(".")[2] + "".join(rest)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8", errors="replace") as source:
        print(json.dumps(read(source).report(100.0), indent=1))
