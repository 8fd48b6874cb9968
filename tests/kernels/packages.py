"""Finds kernels among the distribution's packages and unpacks their images.

The sources are those of this machine's apt, with other releases of the same archive beside its own. What is fetched
stays below artifacts/kernels; the system's own lists and packages are not touched.
"""
import lzma
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Where each is found: releases of Debian, the first that has one wins.
RELEASES = {
    "5.10": ["bullseye-security", "bullseye"],
    "6.1": ["bookworm"],
    "6.12": ["trixie"],
    "newest": ["trixie-backports"],
}
ARCHITECTURES = {"x64": "amd64", "arm64": "arm64"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
UPDATE_S = 300
DOWNLOAD_S = 300


class NotToBeHad(Exception):
    """The package system of this machine has no such kernel, or does not answer."""


def archives():
    """The address of the main archive and of the one with security updates, as apt has them here."""
    try:
        listed = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)",
                                 "Created-By: Packages"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotToBeHad(f"no apt here ({error})") from None
    main, security = None, None
    for line in listed.splitlines():
        origin, codename, address = line.split("|")
        if origin != "Debian":
            continue
        if codename.endswith("-security"):
            security = address
        elif "-" not in codename:
            main = address
    if not main:
        raise NotToBeHad("apt knows no archive of Debian here (apt-get update?)")
    return main, security


class Archive:
    """An apt of its own in a folder, with the lists of a few releases."""

    def __init__(self, folder, release, architecture):
        self.folder = folder / "apt" / f"{release}-{architecture}"
        self.architecture = architecture
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        main, security = archives()
        address = security if release.endswith("-security") else main
        if not address:
            raise NotToBeHad(f"apt knows no security archive, which has {release}")
        signed = f" signed-by={KEYRING}" if Path(KEYRING).exists() else ""
        (self.folder / "sources.list").write_text(
            f"deb [arch={architecture}{signed}] {address} {release} main\n", encoding="utf-8")
        (self.folder / "apt.conf").write_text("\n".join([
            f'Dir::Etc::sourcelist "{self.folder}/sources.list";', 'Dir::Etc::sourceparts "-";',
            f'Dir::State::Lists "{self.folder}/lists";', f'Dir::Cache "{self.folder}/cache";',
            f'APT::Architecture "{architecture}";', f'APT::Architectures "{architecture}";',
            'Acquire::Languages "none";', 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
            'Acquire::Retries "2";', ""]), encoding="utf-8")
        if not list((self.folder / "lists").glob("*_Packages*")):
            self.apt("apt-get", "-q", "update", limit=UPDATE_S)

    def apt(self, *command, limit=60, cwd=None):
        try:
            done = subprocess.run(["env", f"APT_CONFIG={self.folder}/apt.conf", *command], capture_output=True, text=True,
                                  timeout=limit, cwd=cwd)
        except subprocess.TimeoutExpired:
            raise NotToBeHad(f"{' '.join(command)}: no answer within {limit} s") from None
        if done.returncode:
            raise NotToBeHad(f"{' '.join(command)}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
        return done.stdout

    def newest(self, version):
        """The package with the newest image of `version` ("6.1"), or of any ("newest"); small ones for clouds."""
        wanted = r"[0-9.]+" if version == "newest" else re.escape(version)
        pattern = (rf"^Package: (linux-(?:image|binary)-{wanted}[.+][^ ]*-cloud-{self.architecture})$")
        names = set(re.findall(pattern, self.apt("apt-cache", "dumpavail"), re.M))
        # From 6.19 on the image is in linux-binary-…, and linux-image-… only refers to it.
        binaries = {name for name in names if name.startswith("linux-binary-")}
        names = {name for name in names if name.replace("-image-", "-binary-", 1) not in binaries or name in binaries}
        if not names:
            raise NotToBeHad(f"no kernel {version} for {self.architecture}")
        return max(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name.rsplit("-cloud-", 1)[0])])

    def download(self, name, folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(folder.glob(f"{name}_*.deb"))
        if not found:
            self.apt("apt-get", "-q", "download", f"{name}:{self.architecture}", limit=DOWNLOAD_S, cwd=folder)
            found = sorted(folder.glob(f"{name}_*.deb"))
        return found[-1]


def read(package, pattern):
    """The first file in a package whose name ends so, and its name."""
    listed = subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True, text=True).stdout
    name = re.search(rf"(\./\S*{pattern})$", listed, re.M)
    if not name:
        raise NotToBeHad(f"{Path(package).name} has no file {pattern}")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as tar:
        data = subprocess.run(["tar", "-xO", name.group(1)], stdin=tar.stdout, capture_output=True, check=True).stdout
    return name.group(1), data


def unpack(package, folder):
    """The kernel image in a package."""
    target = folder / (Path(package).stem + ".vmlinuz")
    if not target.exists():
        target.write_bytes(read(package, r"/vmlinuz(?:-\S+)?")[1])
    return target


@dataclass
class Kernel:
    image: Path
    source: str  # where it is from
    package: Path = None  # with its modules
    modules_package: object = None  # or how to get that

    def module(self, name, folder):
        """A module of this kernel, as the kernel takes it."""
        package = self.modules_package() if self.modules_package else self.package
        if not package:
            raise NotToBeHad("an image has no modules: give a package")
        target = folder / f"{Path(package).stem}-{name}.ko"
        if not target.exists():
            path, data = read(package, rf"/{name}\.ko(?:\.xz)?")
            target.write_bytes(lzma.decompress(data) if path.endswith(".xz") else data)
        return target


def kernel(wanted, architecture, folder):
    """A kernel: `wanted` is one of RELEASES, an image, or a package."""
    path = Path(wanted)
    if path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        return Kernel(unpack(path, folder), path.name, path) if path.suffix == ".deb" else Kernel(path, path.name)
    if wanted not in RELEASES:
        raise NotToBeHad(f"{wanted} is neither a file nor one of {', '.join(RELEASES)}")
    reasons = []
    for release in RELEASES[wanted]:
        try:
            archive = Archive(folder, release, ARCHITECTURES[architecture])
            name = archive.newest(wanted)
            package = archive.download(name, folder / "packages")
            found = Kernel(unpack(package, folder), f"{package.name}, Debian {release}", package)
            if name.startswith("linux-binary-"):
                others = name.replace("-binary-", "-modules-", 1)
                found.modules_package = lambda: archive.download(others, folder / "packages")
            return found
        except NotToBeHad as reason:
            reasons.append(f"{release}: {reason}")
    raise NotToBeHad("; ".join(reasons))
