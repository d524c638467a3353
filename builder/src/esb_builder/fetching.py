"""What a build step that fetches may know of this machine, as files that enter no layer.

A step mounts them as build secrets: Debian's mirrors and apt's settings (a proxy, say), the package
index, and the certificates this machine trusts (an intercepting proxy's among them). They
lie in the checkout's ``.esb/build``, readable by their owner alone, so that ``docker compose build``
finds them too. Where the machine has nothing to say a file is empty, and a step takes an empty
file as absent.
"""

from __future__ import annotations

import configparser
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from esb_common.errors import BadInput

from esb_builder import base

FOLDER = Path(".esb/build")
TRUST = Path("/etc/ssl/certs/ca-certificates.crt")
NAMES = ("esb_apt_conf", "esb_apt_sources", "esb_build_ca", "esb_index_url")


def write(root: Path, environ: Mapping[str, str], apt: base.Apt | None) -> dict[str, Path]:
    """Write all files below ``root`` and return them by the id of their secret.

    ``apt`` is None where the base images bring mirrors of their own.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "esb_apt_conf": apt.settings.encode() if apt else b"",
        "esb_apt_sources": apt.sources_text.encode() if apt else b"",
        "esb_build_ca": trusted(environ),
        "esb_index_url": (index_url(environ) or "").encode(),
    }
    return {name: _write_private(folder / name, content[name]) for name in NAMES}


def trusted(environ: Mapping[str, str]) -> bytes:
    """The certificates that fetching trusts: ESB_BUILD_CA, else SSL_CERT_FILE, else the machine's store."""
    for name in ("ESB_BUILD_CA", "SSL_CERT_FILE"):
        if given := environ.get(name):
            try:
                return Path(given).read_bytes()
            except OSError as error:
                raise BadInput(f"{name} names {given}: {error.strerror}") from None
    return TRUST.read_bytes() if TRUST.exists() else b""


def index_url(environ: Mapping[str, str]) -> str | None:
    """The package index that uv or pip is configured with, by variable or file; None for their default."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if given := environ.get(name):
            return given
    return next(_configured(environ, Path(environ.get("HOME", "/"))), None)


def _configured(environ: Mapping[str, str], home: Path) -> Iterator[str]:
    settings_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    for path in (settings_home / "uv/uv.toml", Path("/etc/uv/uv.toml")):
        if path.is_file():
            yield from _of_uv(tomllib.loads(path.read_text()))
    given = environ.get("PIP_CONFIG_FILE")
    for path in (
        *([Path(given)] if given and given != os.devnull else []),
        settings_home / "pip/pip.conf",
        home / ".pip/pip.conf",
        Path("/etc/pip.conf"),
    ):
        if path.is_file():
            yield from _of_pip(path)


def _of_uv(document: Mapping[str, Any]) -> Iterator[str]:
    if url := document.get("index-url"):
        yield str(url)
    yield from (str(one["url"]) for one in document.get("index", []) if one.get("default"))


def _of_pip(path: Path) -> Iterator[str]:
    parser = configparser.RawConfigParser()
    parser.read(path)
    if url := parser.get("global", "index-url", fallback=None):
        yield url


def _write_private(path: Path, content: bytes) -> Path:
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
    aside.replace(path)
    return path
