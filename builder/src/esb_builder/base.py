"""The file system that every image stands on, bootstrapped from Debian's signed packages.

mmdebstrap asks apt, which verifies the archive's signatures with Debian's keyring; mirrors,
proxy and date checks are the machine's own apt configuration. About 20 s and 75 MB. What
would tell one machine from another is taken out: its name, its resolver, its mirror. The result
is kept as an OCI layout under a key of everything that decided it except the archive's
state: the same key is taken again until the cache is emptied, so a base moves only when someone means it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from esb_common.errors import NotPossibleHere

from esb_builder import oci, run
from esb_builder.cache import Layouts, Source
from esb_builder.voice import Voice

RELEASE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MERGED_USR = Path("/usr/share/mmdebstrap/hooks/merged-usr")
LEFT_OUT = ("man", "doc", "locale", "info", "lintian")

DPKG = (
    *(f"path-exclude=/usr/share/{name}/*" for name in LEFT_OUT),
    "path-include=/usr/share/doc/*/copyright",
)
"""Also for what later steps install, hence kept in the image as dpkg.cfg.d/esb-slim."""

TIDY = r"""set -eu
cd "$1"
mv etc/dpkg/dpkg.cfg.d/99mmdebstrap etc/dpkg/dpkg.cfg.d/esb-slim
rm -f etc/apt/apt.conf.d/99mmdebstrap etc/apt/sources.list
rm -f var/cache/apt/*.bin var/cache/apt/archives/*.deb var/cache/ldconfig/aux-cache
rm -f var/cache/debconf/*-old var/lib/dpkg/*-old
rm -f etc/passwd- etc/group- etc/shadow- etc/gshadow-
find var/log -type f -delete
rm -rf var/log/apt
echo localhost >etc/hostname
: >etc/resolv.conf
: >etc/machine-id
chmod 0644 etc/hostname etc/resolv.conf etc/machine-id
"""
"""A hook of mmdebstrap, run on the finished root before it is packed."""

_RELEASES = "bookworm|trixie|forky|oldstable|stable|testing"
_TARGET = re.compile(rf"(?:{_RELEASES})(?P<suite>|-updates|-security)")
_FORMAT = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"
_ORIGINS = ("Debian", "$(ORIGIN)")
"""The second is what apt prints of an archive whose index it has not fetched yet."""

_CARRIED = re.compile(r"Acquire::(Check-Valid-Until|Check-Date|https?::Proxy(::[^ ]+)?) ")


@dataclass(frozen=True, slots=True)
class Apt:
    """The machine's own way to Debian: one-line sources for :data:`RELEASE`, and settings of apt.

    Settings may hold a proxy's password, so they travel as a file and are never printed.
    """

    sources: tuple[str, ...]
    settings: str = field(repr=False)

    @property
    def sources_text(self) -> str:
        return "".join(f"{line}\n" for line in self.sources)


def apt_of_machine(environ: Mapping[str, str]) -> Apt:
    """What this machine's apt is configured with. NotPossibleHere where it names no Debian mirror."""
    clean = run.clean(environ)
    targets = run.run(("apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"), environ=clean)
    sources = sources_of(targets.stdout.splitlines())
    if not sources:
        raise NotPossibleHere(
            "apt knows no mirror of Debian's main archive here",
            "add one to apt's sources, or build from public images: ./esb build --source registry",
        )
    dump = run.run(("apt-config", "dump"), environ=clean).stdout
    return Apt(sources, "".join(f"{line}\n" for line in dump.splitlines() if _CARRIED.match(line)))


def sources_of(targets: Iterable[str]) -> tuple[str, ...]:
    """One-line sources of :data:`RELEASE` from lines of ``apt-get indextargets``.

    Only ``main`` of Debian's own archives counts; a machine that runs another release lends its
    mirrors. What is no archive of Debian's in spite of its name fails later, on its signature.
    """
    found: dict[str, None] = {}
    for line in targets:
        uri, release, component, origin = line.split("|", 3)
        match = _TARGET.fullmatch(release)
        if match and component == "main" and origin in _ORIGINS:
            found[f"deb {uri.rstrip('/')} {RELEASE}{match['suite']} main"] = None
    return tuple(found)


def debian(layouts: Layouts, apt: Apt, environ: Mapping[str, str], voice: Voice) -> Source:
    """The bootstrapped base as a layout, from the cache where it is there."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=layouts.folder) as scratch, voice.step("bootstrap Debian 12"):
            root = Path(scratch, "root.tar")
            bootstrap(root, apt, Path(scratch), environ)
            write_image(folder, root)

    return layouts.get("debian", key(), make)


def write_image(folder: Path, root: Path) -> None:
    """Write a bootstrapped root as a layout."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    oci.write_image(folder, [root], {"Env": [path]})


def key() -> str:
    """What decides the base, as one hash: this recipe and the architecture."""
    decided = [RELEASE, *DPKG, TIDY, oci.INSTANT, oci.architecture()]
    return hashlib.sha256(json.dumps(decided).encode()).hexdigest()


def bootstrap(
    root: Path, apt: Apt, scratch: Path, environ: Mapping[str, str], instant: int = oci.INSTANT
) -> None:
    """Write the base's root as the tar ``root``. No file in it is younger than ``instant`` (seconds)."""
    settings = scratch / "apt.conf"
    settings.write_text(apt.settings)
    hook = scratch / "tidy.sh"
    hook.write_text(TIDY)
    arguments = [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        "--components=main",
        "--include=usr-is-merged",
        f"--hook-dir={MERGED_USR}",
        f"--keyring={KEYRING}",
        *(f"--dpkgopt={option}" for option in DPKG),
        *([f"--aptopt={settings}"] if apt.settings else []),
        f'--customize-hook=sh {hook} "$1"',
        RELEASE,
        str(root),
        *apt.sources,
    ]
    run.run(arguments, environ=run.clean(environ, SOURCE_DATE_EPOCH=str(instant)))
