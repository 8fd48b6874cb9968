"""What runs in the booted kernel: the native tests, the seeded schedules, the sample, and a part of the contract suite."""
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from machine import COMPILERS

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
RUNTIMES = {"x64": "linux-x64", "arm64": "linux-arm64"}

# What "smoke" leaves of the native tests: each mechanism once, seconds in the emulator.
SMOKE = ["test_create", "test_restrict", "test_echo", "test_accept", "test_close", "test_partition", "test_handover",
         "test_transfer", "test_starvation"]
NATIVE_LIMIT_S = 900
SCHEDULES = 100
SCHEDULES_LIMIT_S = 600
SAMPLE_LIMIT_S = 900
CONTRACT_LIMIT_S = 1500
CARD_LIMIT_S = 600
# On MegaPipe itself, the contracts of a connection's life. That of back pressure measures how far a pause is passed, which
# has no bound before 6.17.
CONTRACT = ("Transport=MegaPipe&FullyQualifiedName~.Transport.&Speed!=Slow&"
            "(FullyQualifiedName~CloseOn|FullyQualifiedName~AcceptOn|FullyQualifiedName~ReadEndOn|"
            "FullyQualifiedName~AbortOn)")


class CannotBuild(Exception):
    """Something that the payload is made of is not here."""


@dataclass
class Payload:
    programs: dict = field(default_factory=dict)
    trees: dict = field(default_factory=dict)
    libraries: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    cards: bool = False

    def run(self, limit_s, command):
        self.lines.append(f"{limit_s} {command}")


def call(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)
    if done.returncode:
        raise CannotBuild(f"{' '.join(map(str, command))}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def tools(architecture):
    """Where make puts what it builds for `architecture`, and with what; for this machine, where it always does."""
    if architecture == "x64":
        return "build", []
    build = f"build/{architecture}"
    return build, [f"B={build}", f"CC={COMPILERS[architecture]}", "AR=aarch64-linux-gnu-ar"]


def native(payload, architecture, folder, smoke):
    """The C tests, the examples that one of them runs, and the test of the kernel's setting."""
    build, arguments = tools(architecture)
    names = sorted(path.stem for path in (ROOT / "native/tests").glob("test_*.c"))
    names = [name for name in names if not smoke or name in SMOKE]
    names += [] if smoke else ["fake_schedules"]
    examples = sorted(path.stem for path in (ROOT / "native/examples").glob("*.c"))
    call("make", "-C", "native", f"-j{os.cpu_count()}", *arguments, *[f"{build}/tests/{name}" for name in names],
         *[f"{build}/examples/{name}" for name in examples])
    setting = folder / f"setting-{architecture}"
    call(COMPILERS[architecture], "-std=c11", "-O1", "-Wall", "-Werror", "-static", "-Inative/include",
         str(HERE / "setting.c"), f"native/{build}/libmegapipe.a", "-pthread", "-o", str(setting))
    payload.programs["tests/setting"] = setting
    payload.run(NATIVE_LIMIT_S, "/tests/setting")
    for name in examples:
        payload.programs[f"examples/{name}"] = ROOT / "native" / build / "examples" / name
    for name in names:
        payload.programs[f"tests/{name}"] = ROOT / "native" / build / "tests" / name
        if name == "fake_schedules":
            payload.run(SCHEDULES_LIMIT_S, f"/tests/{name} {SCHEDULES}")
        else:
            payload.run(NATIVE_LIMIT_S, f"/tests/{name}")


def compile_static(architecture, target, *sources):
    call(COMPILERS[architecture], "-std=c11", "-O1", "-Wall", "-Werror", "-static", "-Inative/include", "-Inative/src",
         "-Inative/tests", *sources, "-pthread", "-o", str(target))
    return target


def network(payload, folder, driver):
    """Two cards, with the kernel's module for them, and who sends over them without copying. x64 alone."""
    call("make", "-C", "native", f"-j{os.cpu_count()}", "build/libmegapipe.a")
    rig = [ROOT / "native/tests" / f"common_{name}.c" for name in ("test", "rig", "loopback")]
    payload.cards = True
    payload.programs["modules/card.ko"] = driver
    payload.programs["tests/network"] = compile_static("x64", folder / "network", HERE / "network.c")
    payload.programs["tests/card"] = compile_static("x64", folder / "card", HERE / "card.c", *rig,
                                                    "native/build/libmegapipe.a")
    payload.run(CARD_LIMIT_S, "/tests/network /modules/card.ko")
    payload.run(CARD_LIMIT_S, "/tests/card")
    payload.run(SAMPLE_LIMIT_S, "/tests/sample megapipe Auto card")


def library(architecture):
    """libmegapipe.so for the guest."""
    build, arguments = tools(architecture)
    call("make", "-C", "native", *arguments, f"{build}/libmegapipe.so")
    return ROOT / "native" / build / "libmegapipe.so"


def dotnet():
    found = shutil.which("dotnet")
    if not found:
        raise CannotBuild("no dotnet here")
    return Path(found).resolve().parent


def sample(payload, architecture, folder):
    """Built for this machine's runtime, which goes with it, or published with a runtime of its own."""
    app = folder / f"sample-{architecture}"
    program = folder / f"sample-client-{architecture}"
    shutil.rmtree(app, ignore_errors=True)
    if architecture == "x64":
        call("dotnet", "build", "samples/WebApp", "-c", "Release", "-o", str(app))
        payload.programs["dotnet/dotnet"] = dotnet() / "dotnet"
        payload.trees["dotnet/host"] = dotnet() / "host"
        payload.trees["dotnet/shared"] = dotnet() / "shared"
    else:
        call("dotnet", "publish", "samples/WebApp", "-c", "Release", "-r", RUNTIMES[architecture], "--self-contained",
             "-o", str(app))
    for stray in app.rglob("libmegapipe.so"):
        stray.unlink()
    shutil.copy(library(architecture), app / "libmegapipe.so")
    call(COMPILERS[architecture], "-std=c11", "-O1", "-Wall", "-Werror", "-static", str(HERE / "sample.c"), "-o",
         str(program))
    payload.trees["app"] = app
    payload.programs["tests/sample"] = program


def run_sample(payload, expected, smoke):
    for lightweight in ["Auto"] if smoke else ["Auto", "Always"]:
        payload.run(SAMPLE_LIMIT_S, f"/tests/sample {expected} {lightweight}")


def contract(payload, folder):
    """A part of the managed tests, by the SDK's test platform; for this machine's architecture."""
    versions = sorted((dotnet() / "sdk").iterdir(), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
    suite = folder / "suite"
    platform = folder / "platform"
    for stale in (suite, platform):
        shutil.rmtree(stale, ignore_errors=True)
    call("dotnet", "build", "tests/MegaPipe.Kestrel.Tests", "-c", "Release", "-o", str(suite))
    platform.mkdir(parents=True)
    for file in versions[-1].iterdir():
        if file.is_file() and re.match(r"vstest|testhost|Microsoft\.(TestPlatform|VisualStudio|Extensions|CodeCoverage)|"
                                       r"Newtonsoft|NuGet\.Frameworks|System\.", file.name):
            shutil.copy(file, platform / file.name)
    shutil.copytree(versions[-1] / "Extensions", platform / "Extensions")
    program = folder / "contract"
    program.write_text("", encoding="utf-8")
    call(COMPILERS["x64"], "-std=c11", "-O1", "-Wall", "-Werror", "-static", str(HERE / "contract.c"), "-o", str(program))
    for library in ("libssl.so.3", "libcrypto.so.3"):  # loaded by name at run time: TLS
        payload.libraries.append(library)
    payload.trees["suite"] = suite
    payload.trees["platform"] = platform
    payload.programs["tests/contract"] = program
    payload.run(CONTRACT_LIMIT_S, f"/tests/contract {CONTRACT}")
