"""The box's credentials: made once, kept where the gateway's user alone may read them, given out by name.

``esb up`` and ``esb ca init`` make the key pair; ``esb api-key`` adds and removes API keys. Every change
replaces the file in one step, and a running gateway takes it over within a second. Changes hold a lock,
so that two commands at once lose nothing.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from esb_builder.ca import files
from esb_common import credentials
from esb_common.credentials import ApiKey, Credentials
from esb_common.errors import BadInput, Misuse

from esb_cli.box.layout import Layout


def ready(place: Layout) -> Credentials:
    """The box's credentials, made where there are none; the gateway's user may read them afterwards."""
    with _changing(place):
        known = _read(place)
        if known is None:
            known = Credentials(access_key_id=_access_key(), secret_access_key=secrets.token_urlsafe(30))
            _write(place, known)
        elif not _readable(place):
            _write(place, known)
        return known


def load(place: Layout) -> Credentials:
    """The box's credentials. BadInput where ``up`` made none yet."""
    known = _read(place)
    if known is None:
        raise BadInput(f"there is no {_path(place)}", "./esb up makes it")
    return known


def add_key(place: Layout, name: str, calls_per_s: int, burst: int) -> str:
    """A new API key; its text is kept nowhere. Misuse where the name is taken or no name."""
    text = f"esb_{secrets.token_urlsafe(32)}"
    with _changing(place):
        known = load(place)
        if any(key.name == name for key in known.api_keys):
            raise Misuse(f"there is an API key {name} already", f"./esb api-key remove {name}")
        try:
            key = ApiKey(name, credentials.sha256_of(text), calls_per_s, burst)
        except ValueError as error:
            raise Misuse(str(error)) from None
        _write(place, replace(known, api_keys=(*known.api_keys, key)))
    return text


def remove_key(place: Layout, name: str) -> None:
    """Let the key in no more. Misuse where there is none of that name."""
    with _changing(place):
        known = load(place)
        rest = tuple(key for key in known.api_keys if key.name != name)
        if rest == known.api_keys:
            raise Misuse(f"there is no API key {name}", "./esb api-key list")
        _write(place, replace(known, api_keys=rest))


def _access_key() -> str:
    """As AWS's: twenty capital letters and digits."""
    return "ESBA" + base64.b32encode(secrets.token_bytes(10)).decode()


def _path(place: Layout) -> Path:
    return place.credentials / credentials.FILE


def _read(place: Layout) -> Credentials | None:
    content = files.read(_path(place))
    if content is None:
        return None
    try:
        return credentials.decode(content)
    except ValueError as error:
        hint = "restore it from a backup, or move it away and run: ./esb up"
        raise BadInput(f"{_path(place)} holds no credentials: {error}", hint) from None


def _write(place: Layout, known: Credentials) -> None:
    files.write(_path(place), credentials.encode(known), 0o600, (place.uid, place.gid))


def _readable(place: Layout) -> bool:
    """Whether the gateway's user, and nobody else, may read the file: another ESB_UID, or a copied file."""
    seen = _path(place).stat()
    owned = seen.st_uid == place.uid or os.geteuid() != 0
    return owned and seen.st_mode & 0o777 == 0o600


@contextmanager
def _changing(place: Layout) -> Iterator[None]:
    """One command at a time; the folder is passable, the files in it are not."""
    files.folder(place.credentials, 0o755)
    folder = os.open(place.credentials, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
