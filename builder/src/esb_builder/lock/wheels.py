"""Wheels: what a hash-pinned requirements file means on this architecture.

uv asks the index that this machine is configured with; of the wheels that fit CPython 3.12 on
Debian 12's libc and that the file's hashes allow, one is kept per package: the most specific. Locking and
fetching ask the same question, since a lock holds no addresses.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from esb_common.errors import BadInput

from esb_builder import run
from esb_builder.lock.model import Pin
from esb_builder.python_prefix import VERSION

PLATFORMS: Mapping[str, str] = {"amd64": "x86_64-manylinux_2_36", "arm64": "aarch64-manylinux_2_36"}
"""uv's name for Debian 12 (glibc 2.36) on an architecture."""

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_REQUIRED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", re.MULTILINE)
_GLIBC = re.compile(r"manylinux_(\d+)_(\d+)")
_LEGACY = {"manylinux2014": (2, 17), "manylinux2010": (2, 12), "manylinux1": (2, 5)}


@dataclass(frozen=True, slots=True)
class Offered:
    """A wheel that the index has, and where."""

    name: str
    pin: Pin
    address: str


def ask(requirements: Path, architecture: str, uv: Path, environ: Mapping[str, str]) -> list[Offered]:
    """Every fitting wheel of every package of ``requirements``, as the index has it now."""
    arguments = (
        *("pip", "compile", "--quiet", "--no-deps", "--no-header", "--format", "pylock.toml"),
        *(
            "--only-binary",
            ":all:",
            "--python-version",
            VERSION,
            "--python-platform",
            PLATFORMS[architecture],
        ),
        requirements,
    )
    return offered(run.run((uv, *arguments), environ=environ).stdout)


def offered(pylock: str) -> list[Offered]:
    """The wheels of a ``pylock.toml`` (PEP 751)."""
    document = tomllib.loads(pylock)
    return [
        _offer(_normal(package["name"]), package["version"], wheel)
        for package in document.get("packages", ())
        for wheel in package.get("wheels", ())
    ]


def _offer(name: str, version: str, wheel: Mapping[str, Any]) -> Offered:
    address = str(wheel["url"])
    if not isinstance(size := wheel.get("size"), int):
        raise BadInput(
            f"the package index does not say how large {name} {version} is",
            "use an index with sizes (PEP 700)",
        )
    file = wheel.get("name") or unquote(urlsplit(address).path.rpartition("/")[2])
    return Offered(name, Pin(version, wheel["hashes"]["sha256"], size, file), address)


def chosen(offers: list[Offered], requirements: str, name: str) -> dict[str, Pin]:
    """One wheel per package. BadInput where a package of the file has none that fits and is allowed."""
    allowed = set(_HASH.findall(requirements))
    best: dict[str, Pin] = {}
    for offer in sorted(offers, key=lambda one: _rank(one.pin.path)):
        if offer.pin.sha256 in allowed:
            best[offer.name] = offer.pin
    wanted = [_normal(one) for one in _REQUIRED.findall(requirements)]
    if missing := [one for one in wanted if one not in best]:
        raise BadInput(
            f"{name}: the index has no wheel for {missing[0]} that fits and that the file's hashes allow",
            "compile the file again with its hashes, or ask its author for a wheel",
        )
    return best


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _rank(file: str) -> tuple[bool, bool, int, tuple[int, int], str]:
    """How specific a wheel's tags are (PEP 425, PEP 600); the last in this order is kept."""
    python, abi, platform = file.removesuffix(".whl").rsplit("-", 3)[1:]
    interpreter = int(python.split(".")[0].removeprefix("cp3") or 0) if python.startswith("cp3") else 0
    return platform != "any", abi.startswith("cp"), interpreter, _glibc(platform), file


def _glibc(platform: str) -> tuple[int, int]:
    versions = [(int(major), int(minor)) for major, minor in _GLIBC.findall(platform)]
    versions += [version for name, version in _LEGACY.items() if name in platform]
    return min(versions, default=(0, 0))
