"""An emulated machine that boots a kernel with everything it needs in an initramfs, and what its console says."""
import os
import re
import selectors
import stat
import subprocess
import tempfile
import time
from pathlib import Path

GUEST = Path(__file__).with_name("guest.c")
BOOTS = 3  # on a busy machine an emulated boot may end early, before anything of ours ran
KVM_BOOT_S = 60  # where KVM works a boot takes seconds

COMPILERS = {"x64": "cc", "arm64": "aarch64-linux-gnu-gcc"}
EMULATORS = {"x64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
# Where a program's libraries are here, and where the guest looks for them.
LIBRARIES = {
    "x64": (["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"], "/lib"),
    "arm64": (["/usr/aarch64-linux-gnu/lib", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"], "/lib"),
}


class Initramfs:
    """A cpio archive in the "newc" format, which every kernel unpacks."""

    def __init__(self, architecture):
        self.folders, self.target = LIBRARIES[architecture]
        self.parts = []
        self.names = set()

    def entry(self, name, mode, data=b"", device=(0, 0)):
        self.names.add(name)
        fields = [len(self.parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self.parts.append(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def folder(self, name):
        if name in ("", ".") or name in self.names:
            return
        self.folder(os.path.dirname(name))
        self.entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data):
        name = name.lstrip("/")
        if name in self.names:
            return
        self.folder(os.path.dirname(name))
        self.entry(name, stat.S_IFREG | 0o755, data)

    def program(self, path, name):
        """A file, and where it is a program, the loader and the libraries that it names."""
        if name.lstrip("/") in self.names:
            return
        data = Path(path).read_bytes()
        self.file(name, data)
        if not data.startswith(b"\x7fELF"):
            return
        told = subprocess.run(["readelf", "-dlW", str(path)], capture_output=True, text=True).stdout
        for loader in re.findall(r"interpreter: (\S+)\]", told):
            self.library(os.path.basename(loader), loader)
        for library in re.findall(r"\(NEEDED\).*\[(\S+)\]", told):
            self.library(library, f"{self.target}/{library}")

    def library(self, name, target):
        for folder in self.folders:
            if os.path.exists(f"{folder}/{name}"):
                self.program(f"{folder}/{name}", target)
                return

    def tree(self, source, target):
        for file in sorted(Path(source).rglob("*")):
            if file.is_file():
                self.program(file, f"{target}/{file.relative_to(source)}")

    def bytes(self):
        self.entry("TRAILER!!!", 0)
        return b"".join(self.parts)


def initramfs(architecture, payload):
    """`payload`: programs {path in the guest: path here}, trees likewise, lines to run ("LIMIT_S PROGRAM ARGUMENT...")."""
    archive = Initramfs(architecture)
    with tempfile.TemporaryDirectory() as folder:
        init = Path(folder) / "init"
        subprocess.run([COMPILERS[architecture], "-std=c11", "-O1", "-Wall", "-Werror", "-static", str(GUEST), "-o",
                        str(init)], check=True)
        archive.file("init", init.read_bytes())
    archive.folder("dev")
    archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for target, path in payload.programs.items():
        archive.program(path, target)
    for target, path in payload.trees.items():
        archive.tree(path, target)
    for name in payload.libraries:
        archive.library(name, f"{archive.target}/{name}")
    archive.file("programs", "".join(line + "\n" for line in payload.lines).encode())
    return archive.bytes()


def kvm_may_work(architecture):
    if architecture != "x64" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    return bool(re.search(r"\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(encoding="utf-8")))


# Two cards on one wire. Of those that QEMU has, this one takes bytes from where they are without a network behind it that
# does, and its driver is among the small kernels for clouds.
CARDS = [word for end in "ab" for word in ("-netdev", f"hubport,id={end},hubid=0", "-device", f"vmxnet3,netdev={end}")]


def command(architecture, kernel, ramdisk, options, kvm, cards):
    console = "ttyAMA0" if architecture == "arm64" else "ttyS0"
    if kvm:
        processor = ["-accel", "kvm", "-cpu", "host"]
    else:
        # Pointer authentication as the architecture has it takes most of an emulated processor's time.
        processor = ["-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on" if architecture == "arm64" else "max"]
    return ["nice", "-n", "10", EMULATORS[architecture], *processor, *(["-M", "virt"] if architecture == "arm64" else []),
            "-smp", str(options.cpus), "-m", str(options.memory), "-kernel", str(kernel), "-initrd", ramdisk,
            *(CARDS if cards else ["-nic", "none"]), "-nographic", "-no-reboot",
            # A panic ends the machine at once. The timer check takes a busy host for a broken interrupt controller.
            "-append", f"console={console} quiet panic=-1 no_timer_check"]


def lines_of(arguments, limit_s, first_s):
    """The console's lines, as they come; ends with the machine, at the limit, or when nothing came for `first_s`."""
    deadline = time.monotonic() + limit_s
    first = time.monotonic() + first_s
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as machine:
        rest, started = b"", False
        with selectors.DefaultSelector() as selector:
            selector.register(machine.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0, (deadline if started else min(first, deadline)) - time.monotonic())):
                    yield f"guest: limit {'of time' if started else 'of the boot'}"
                    break
                piece = os.read(machine.stdout.fileno(), 65536)
                if not piece:
                    break
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    text = line.decode(errors="replace").rstrip("\r")
                    started = started or "guest: kernel" in text
                    yield text
        machine.kill()


def boot(architecture, kernel, payload, options, log):
    """Runs the payload's lines. Yields (what, detail): kernel VERSION, start LINE, say TEXT, end (RESULT, LINE, SECONDS)."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(initramfs(architecture, payload))
        file.flush()
        tries = [True] if kvm_may_work(architecture) else []
        for kvm in tries + [False] * BOOTS:
            arguments = command(architecture, kernel, file.name, options, kvm, payload.cards)
            last, booted, began = [], False, time.monotonic()
            for line in lines_of(arguments, options.total, KVM_BOOT_S if kvm else options.total):
                print(line, file=log, flush=True)
                last = [*last[-9:], line]
                # Firmware and kernel may leave half a line of their own before ours.
                told = re.search(r"guest: (kernel|start|end|limit|done)\s?(.*)", line)
                if not told:
                    if booted:
                        yield "say", line
                    continue
                what, detail = told.groups()
                if what == "kernel":
                    booted = True
                    yield "kernel", f"{detail}{' (KVM)' if kvm else ''}"
                elif what == "start":
                    began = time.monotonic()
                    yield "start", detail
                elif what == "end":
                    result, _, name = detail.partition(" | ")
                    yield "end", (result, name, time.monotonic() - began)
                elif booted:
                    yield what, detail
            if booted:
                return
    yield "dead", "the kernel ended before its first process; its last lines:\n  " + "\n  ".join(last)
