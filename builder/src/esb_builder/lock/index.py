"""Debian's signed index as text: which Packages file an InRelease vouches for, and what stands in it.

Formats: https://wiki.debian.org/DebianRepository/Format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from esb_common.errors import BadInput

from esb_builder.lock.model import Deb
from esb_builder.store import Blob

_FIELD = re.compile(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", re.MULTILINE)
_INSTALLED = re.compile(r"^Inst (\S+) (?:\[[^\]]*\] )?\((\S+) .*\[(\S+)\]\)", re.MULTILINE)
_ONLY_IN_INDEX = re.compile(r"^(Filename|Size|MD5sum|SHA256|Description-md5):.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Chosen:
    """A package as apt's solution names it."""

    name: str
    version: str
    architecture: str


def date_of(inrelease: str) -> str:
    """When the archive was signed, in RFC 3339 (UTC)."""
    found = re.search(r"^Date: (.+)$", inrelease, re.MULTILINE)
    if not found:
        raise BadInput("an InRelease file has no date", "check the mirror that apt is configured with")
    return parsedate_to_datetime(found[1]).strftime("%Y-%m-%dT%H:%M:%SZ")


def indexed(inrelease: str, path: str) -> Blob:
    """Hash and size of a file below ``dists/SUITE``, as the InRelease vouches for it."""
    _, _, sums = inrelease.partition("\nSHA256:\n")
    for line in sums.splitlines():
        if not line.startswith(" "):
            break
        sha256, size, name = line.split()
        if name == path:
            return Blob(sha256, int(size))
    raise BadInput(
        f"the archive has no {path}", "its InRelease does not name it: wrong architecture or mirror?"
    )


def solution(simulated: str) -> list[Chosen]:
    """What ``apt-get --simulate install`` would install."""
    return sorted(Chosen(*match.groups()) for match in _INSTALLED.finditer(simulated))


@dataclass(frozen=True, slots=True)
class Entry:
    """A package in an index: what the lock keeps of it, and its stanza."""

    deb: Deb
    stanza: str


def find(packages: str, suite: str, wanted: Iterable[Chosen]) -> dict[Chosen, Entry]:
    """The stanzas of ``wanted`` in a Packages file; what it does not have is left out."""
    names = {one.name: one for one in wanted}
    chosen = set(names.values()) | set(wanted)
    found = {}
    for stanza in packages.split("\n\n"):
        head = stanza.lstrip("\n")
        if not head.startswith("Package: ") or head[9 : head.find("\n")] not in names:
            continue
        fields = dict(_FIELD.findall(head))
        one = Chosen(fields["Package"], fields["Version"], fields["Architecture"])
        if one in chosen:
            found[one] = Entry(_deb(fields, suite), head)
    return found


def _deb(fields: Mapping[str, str], suite: str) -> Deb:
    return Deb(
        version=fields["Version"],
        architecture=fields["Architecture"],
        suite=suite,
        sha256=fields["SHA256"],
        size=int(fields["Size"]),
        path=fields["Filename"],
    )


def installed(stanzas: Iterable[str]) -> str:
    """A dpkg status file in which the packages of ``stanzas`` are installed."""
    return "".join(
        _ONLY_IN_INDEX.sub("", stanza.rstrip("\n") + "\n") + "Status: install ok installed\n\n"
        for stanza in stanzas
    )
