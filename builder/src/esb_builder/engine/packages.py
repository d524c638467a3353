"""Debian 13's engine in a folder of its own, checked by apt's signatures.

apt runs with private lists and a private cache, so the host's package state is never read or
changed; its proxy, mirror and trust settings are the machine's own. dockerd, containerd and
the client need only Debian 12's libc; runc and crun of Debian 13 need a newer one, so those
two are Debian 12's. About 95 MB are fetched and 420 MB unpacked; the archives are dropped.

The folder is built aside and renamed, so it is complete or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from esb_common.errors import NotPossibleHere

from esb_builder import run
from esb_builder.voice import Voice

NEW, OLD = "trixie", "bookworm"
PACKAGES = {
    "docker.io": NEW,
    "docker-cli": NEW,
    "containerd": NEW,
    "docker-buildx": NEW,
    "docker-compose": NEW,
    "tini": NEW,
    "runc": OLD,
    "crun": OLD,
    "libyajl2": OLD,
    "containernetworking-plugins": OLD,
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTING = "esb-packages.json"
_TARGETS = "$(RELEASE) $(COMPONENT) $(SITE)"


def mirror_of(targets: str, codename: str) -> str | None:
    """The mirror in ``apt-get indextargets`` lines of :data:`_TARGETS` that serves ``codename main``."""
    for line in targets.splitlines():
        release, component, site = line.split(" ", 2)
        if (release, component) == (codename, "main"):
            return site
    return None


def codename_of(os_release: str) -> str:
    """VERSION_CODENAME of an ``os-release`` file, or nothing where it has none."""
    pairs = (line.partition("=") for line in os_release.splitlines())
    return next((value.strip('"') for name, _, value in pairs if name == "VERSION_CODENAME"), "")


def install(prefix: Path, environ: dict[str, str], voice: Voice, brought: Sequence[Path] = ()) -> None:
    """Have them unpacked in ``prefix``: those that a bundle ``brought``, else fetched.

    NotPossibleHere without either and without a Debian mirror.
    """
    if prefix.exists():
        return
    aside = prefix.with_name(f".{prefix.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    apt = prefix.with_name(".apt")
    try:
        debs = list(brought)
        if not debs:
            with voice.step("fetch Debian's container engine"):
                debs = download(apt, environ)
        with voice.step("unpack Debian's container engine"):
            _unpack(debs, aside, environ)
    finally:
        shutil.rmtree(apt, ignore_errors=True)
    aside.rename(prefix)


def versions(prefix: Path) -> dict[str, str]:
    """Package names and versions of an unpacked prefix; nothing where there is none."""
    path = prefix / LISTING
    listing: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return listing


def download(apt: Path, environ: dict[str, str]) -> list[Path]:
    """Fetch :data:`PACKAGES`, with an apt of our own in the folder ``apt``; the files, sorted."""
    shutil.rmtree(apt, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "debs"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text(_sources(mirror(environ)[0]))
    (apt / "apt.conf").write_text(_configuration(apt))
    private = environ | {"APT_CONFIG": str(apt / "apt.conf")}
    run.run(("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"), environ=private)
    wanted = [f"{name}/{release}" for name, release in PACKAGES.items()]
    run.run(("apt-get", "-q", "download", *wanted), environ=private, cwd=apt / "debs")
    return sorted((apt / "debs").glob("*.deb"))


def mirror(environ: dict[str, str]) -> tuple[str, str]:
    """The machine's own Debian mirror and its release's code name. NotPossibleHere without one."""
    codename = codename_of(Path("/etc/os-release").read_text())
    # a fresh machine has no lists yet, and without this option apt then names nothing
    asked = ("apt-get", "indextargets", "--no-release-info", "--format", _TARGETS)
    listed = run.run(asked, environ=environ).stdout
    site = mirror_of(listed, codename)
    if site is None or not KEYRING.exists():
        lacking = f"no Debian mirror for {codename or 'this release'}" if site is None else f"no {KEYRING}"
        raise NotPossibleHere(
            f"apt knows {lacking}, so Debian's engine cannot be fetched",
            "add Debian's main archive to apt's sources (and install debian-archive-keyring), "
            "or install Docker and set DOCKER_HOST, or run: ./esb up --embedded",
        )
    return site, codename


def _sources(mirror: str) -> str:
    return "".join(f"deb [signed-by={KEYRING}] {mirror} {release} main\n" for release in (NEW, OLD))


def _configuration(apt: Path) -> str:
    """Everything private; the machine's own ``apt.conf.d`` (proxy, trust) still applies."""
    return (
        f'Dir::Etc::sourcelist "{apt}/sources.list"; Dir::Etc::sourceparts "/dev/null";\n'
        'Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";\n'
        f'Dir::State::lists "{apt}/lists"; Dir::Cache "{apt}/cache";\n'
        'APT::Sandbox::User "root"; APT::Update::Post-Invoke-Success ""; APT::Update::Post-Invoke "";\n'
        'Acquire::Retries "3"; Acquire::Languages "none";\n'
    )


def _unpack(debs: Sequence[Path], aside: Path, environ: dict[str, str]) -> None:
    aside.mkdir()
    listing = {}
    for deb in debs:
        run.run(("dpkg-deb", "-x", deb, aside), environ=environ)
        shown = run.run(("dpkg-deb", "-f", deb, "Package", "Version"), environ=environ).stdout
        fields = dict(line.split(": ", 1) for line in shown.splitlines())
        listing[fields["Package"]] = fields["Version"]
    (aside / LISTING).write_text(json.dumps(listing, indent=1))
