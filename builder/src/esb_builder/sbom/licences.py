"""Licences in SPDX's words, from Debian's copyright files and from Python's metadata.

Only names with one meaning are translated. Any other keeps its own as a ``LicenseRef-``, and a file that is
prose says nothing at all: a wrong licence in a bill is worse than none.

https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ · https://spdx.org/licenses/ ·
PEP 639.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

REFERENCE = "LicenseRef-"

_SAME = (
    "0BSD AFL-2.1 Apache-2.0 Artistic-2.0 Beerware BSD-2-Clause BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC "
    "BSL-1.0 CC-BY-3.0 CC-BY-SA-4.0 CC0-1.0 FSFAP FSFULLR HPND ISC Latex2e MIT MPL-1.1 MPL-2.0 "
    "MS-PL OpenSSL PSF-2.0 Python-2.0 Sleepycat SMAIL-GPL Unlicense X11 ZPL-2.1 Zlib"
)
_NAMES: Mapping[str, str] = {name.lower(): name for name in _SAME.split()} | {
    "3-clause bsd license": "BSD-3-Clause",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "bsd-2-clause-netbsd": "BSD-2-Clause-NetBSD",
    "bsl-1": "BSL-1.0",
    "expat": "MIT",
    "gfdl-niv-1.3": "GFDL-1.3-no-invariants-only",
    "gfdl-niv-1.3+": "GFDL-1.3-no-invariants-or-later",
    "mit license": "MIT",
}
_EXCEPTIONS: Mapping[str, str] = {
    "autoconf": "Autoconf-exception-3.0",
    "bison": "Bison-exception-2.2",
    "linux-syscall-note": "Linux-syscall-note",
}
_CLASSIFIERS: Mapping[str, str] = {
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_GNU = re.compile(r"(?P<name>A?GPL|LGPL|GFDL)-?(?P<major>\d)(\.(?P<minor>\d))?(?P<later>\+|-or-later)?", re.I)
_GNU_VERSIONS = frozenset(
    f"{name}-{version}"
    for name, versions in (
        ("AGPL", ("3.0",)),
        ("GFDL", ("1.1", "1.2", "1.3")),
        ("GPL", ("1.0", "2.0", "3.0")),
        ("LGPL", ("2.0", "2.1", "3.0")),
    )
    for version in versions
)
_LISTED = re.compile(r"(A?GPL|LGPL)-\d\.\d-(only|or-later)")
_WITH = re.compile(r"(?P<name>\S+) with (?P<exception>[\w.-]+?)(-[\d.]+)? exception", re.I)
_EXPRESSION = re.compile(r"\(*[A-Za-z0-9.+-]+\)*( (AND|OR|WITH) \(*[A-Za-z0-9.+-]+\)*)*")
_STANZAS = re.compile(r"\n\s*\n")
_LICENCE = re.compile(r"^License:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)


def of_copyright(text: str) -> str:
    """The expression of a machine-readable copyright file: everything that some file in it is under."""
    if not re.match(r"\s*Format(-Specification)?:", text):
        return ""
    stanzas = _STANZAS.split(text)
    said = [match[1] for one in stanzas if _is_about_files(one) and (match := _LICENCE.search(one))]
    return _joined(frozenset().union(*map(_debian, said)))


def of_metadata(expression: str, licence: str, classifiers: Iterable[str]) -> str:
    """The expression of a Python distribution: what it declares as such, else its one licence."""
    for said in (expression, licence if " " in licence else ""):
        if _EXPRESSION.fullmatch(said):
            return said
    if licence.lower() in _NAMES:
        return _NAMES[licence.lower()]
    trove = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")]
    if len(trove) == 1 and trove[0] in _CLASSIFIERS:
        return _CLASSIFIERS[trove[0]]
    said = expression or licence
    return _joined(frozenset(map(_atom, [said] if 0 < len(said) < 80 else trove)))


def is_known(name: str) -> bool:
    """Whether this is one licence that we know SPDX to list."""
    return name in _NAMES.values() or bool(_LISTED.fullmatch(name))


def references(expression: str) -> list[str]:
    """The names in an expression that SPDX does not know."""
    return re.findall(rf"{REFERENCE}[A-Za-z0-9.-]+", expression)


Terms = frozenset[str]
"""Licences that hold at once; each is one licence or a choice between some."""


def _is_about_files(stanza: str) -> bool:
    """A stanza that is a licence's text alone repeats a name, and says of no file that it holds."""
    return bool(re.search(r"^(Files|Format|Format-Specification):", stanza, re.MULTILINE | re.IGNORECASE))


def _debian(name: str) -> Terms:
    """Debian's short names: ``and`` binds closer than ``or``, a comma before either less than both."""
    parts: list[Terms] = [_choice(part) for part in re.split(r",\s*and\s+", name)]
    return frozenset().union(*parts)


def _choice(name: str) -> Terms:
    ways = [_all(one) for one in re.split(r",?\s+(?:and/or|or)\s+", name)]
    if len(ways) == 1:
        return ways[0]
    return frozenset({" OR ".join(sorted({_grouped(_joined(one), " AND ") for one in ways if one}))})


def _all(name: str) -> Terms:
    return frozenset(filter(None, map(_atom, re.split(r"\s+and\s+", name))))


def _joined(terms: Terms) -> str:
    known = sorted(one for one in terms if one)
    return known[0] if len(known) == 1 else " AND ".join(_grouped(one, " OR ") for one in known)


def _grouped(expression: str, operator: str) -> str:
    return f"({expression})" if operator in expression else expression


def _atom(name: str) -> str:
    """One licence."""
    name = name.strip(" ,")
    if name.lower() in _NAMES:
        return _NAMES[name.lower()]
    if match := _WITH.fullmatch(name):
        exception = _EXCEPTIONS.get(match["exception"].lower())
        base = _gnu(match["name"])
        return f"{base} WITH {exception}" if exception and base else _reference(name)
    return _gnu(name) or _reference(name)


def _gnu(name: str) -> str:
    match = _GNU.fullmatch(name)
    if match is None:
        return ""
    versioned = f"{match['name'].upper()}-{match['major']}.{match['minor'] or '0'}"
    return f"{versioned}-{'or-later' if match['later'] else 'only'}" if versioned in _GNU_VERSIONS else ""


def _reference(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9.]+", "-", name.replace("+", " or later ")).strip("-.")
    return f"{REFERENCE}{safe}" if safe else ""
