"""This machine's own ways to the world: apt's mirrors and proxy, uv's index, named mirrors.

No address is written down in ESB. Debian's pool is where apt's sources say; wheels are where
the index says that uv is configured with; sites of single projects are *named mirrors*, given as
``NAME=ADDRESS`` in ESB_MIRRORS. Two names are special: ``store`` is a web server (or folder) with
the files of another ESB's store, asked first for everything; ``registry`` is an image registry's
address or the folder of an OCI layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from esb_common.errors import Misuse, NotPossibleHere

from esb_builder.base import Apt
from esb_builder.sources.http import Location, Web

_PROXY = re.compile(r'^Acquire::(https?)::Proxy((?:::[^ ]+)?) "([^"]*)";$', re.MULTILINE)
_MIRROR = re.compile(r"([a-z][a-z0-9-]*)=(\S+)")
_SCHEMES = ("http", "https", "file")


@dataclass(frozen=True, slots=True)
class Machine:
    """``uv`` is the pinned program and ``uv_environ`` what it runs with (index, proxy, trust)."""

    web: Web
    apt: Apt = field(repr=False)
    mirrors: Mapping[str, str] = field(repr=False)
    uv: Path
    uv_environ: Mapping[str, str] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)

    def archive(self, suite: str, path: str) -> list[Location]:
        """Where a file of a suite is (``path`` below its root). NotPossibleHere where apt has no source."""
        found = [Location(f"{uri}/{path}", self._proxy(uri)) for uri in self._uris(suite)]
        if not found:
            raise NotPossibleHere(
                f"apt has no source for {suite} here", f"add Debian's {suite} to apt's sources"
            )
        return found

    def mirror(self, name: str, path: str) -> list[Location]:
        """Where a file of a named mirror is; nothing where the name has no address."""
        address = self.mirrors.get(name)
        return [Location(f"{address.rstrip('/')}/{quote(path, safe='/:+~')}")] if address else []

    def indexed(self, address: str) -> Location:
        """A file that the package index names, with the index's own password where it lies on its host."""
        index = urlsplit(self.uv_environ.get("UV_DEFAULT_INDEX") or self.uv_environ.get("UV_INDEX_URL", ""))
        parts = urlsplit(address)
        if index.username and not parts.username and parts.hostname == index.hostname:
            parts = parts._replace(netloc=f"{index.netloc.rpartition('@')[0]}@{parts.netloc}")
        return Location(urlunsplit(parts))

    def blob(self, sha256: str) -> list[Location]:
        """Where another ESB's store has a blob."""
        return self.mirror("store", f"sha256/{sha256}")

    def _uris(self, suite: str) -> list[str]:
        lines = (line.split() for line in self.apt.sources)
        return [_absolute(words[1]) for words in lines if words[2] == suite]

    def _proxy(self, uri: str) -> str | None:
        """apt's proxy for an archive, the one for its host first; None where apt names none."""
        proxies = {(scheme, host[2:]): proxy for scheme, host, proxy in _PROXY.findall(self.apt.settings)}
        parts = urlsplit(uri)
        asked = [(scheme, host) for scheme in (parts.scheme, "http") for host in (parts.hostname or "", "")]
        proxy = next((proxies[one] for one in asked if proxies.get(one)), None)
        return "" if proxy == "DIRECT" else proxy


def suites_of(apt: Apt) -> list[str]:
    """The suites that apt has sources for, in its order."""
    return list(dict.fromkeys(line.split()[2] for line in apt.sources))


def mirrors_of(text: str) -> dict[str, str]:
    """``NAME=ADDRESS`` words of ESB_MIRRORS; an absolute path is an address too. Misuse for other words."""
    found = {}
    for word in text.split():
        match = _MIRROR.fullmatch(word)
        if not match:
            raise Misuse(
                "ESB_MIRRORS holds a word that is not NAME=ADDRESS", "e.g. store=https://esb.example/store"
            )
        address = f"file://{quote(match[2])}" if match[2].startswith("/") else match[2]
        if urlsplit(address).scheme not in _SCHEMES:
            raise Misuse(
                f"ESB_MIRRORS: the address of {match[1]} is not http, https, file or an absolute path"
            )
        found[match[1]] = address
    return found


def _absolute(uri: str) -> str:
    """apt's ``file:`` and ``copy:`` addresses in the form that every client reads."""
    scheme, _, rest = uri.partition(":")
    if scheme in ("file", "copy"):
        return "file:///" + rest.lstrip("/")
    if scheme in ("http", "https"):
        return uri
    raise NotPossibleHere(
        f"apt's source uses {scheme}:, which ESB cannot fetch from",
        "add an http, https or file source of the same suite",
    )
