"""What a bundle says it holds, and what each of it is for: the text that is signed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from esb_common.errors import BadInput

from esb_builder.plan import FAMILY
from esb_builder.signing.attestations import FILES, PUBLIC_KEY
from esb_builder.stamps import Stamp

SCHEMA = 1
KIND = "application/vnd.esb.bundle+json"

_HASH = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~%:-]{0,200}\.(whl|deb)")
_STAMP = {"parts", "id", "engine_id", "parent_engine_id", "form"}


@dataclass(frozen=True, slots=True)
class Contents:
    """Files by SHA-256.

    ``blobs`` are all of them with their sizes in bytes. ``lock`` and ``root_ca`` are esb.lock and rootCA.crt;
    ``wheels``, ``engine`` and ``host`` are wheels and Debian packages by file name; ``locks`` the hashes of
    the requirement files that the wheels satisfy wholly; ``attestations`` signed statements by IMAGE/FILE.
    """

    architecture: str
    lock: str
    root_ca: str
    blobs: Mapping[str, int]
    wheels: Mapping[str, str]
    locks: tuple[str, ...]
    engine: Mapping[str, str]
    host: Mapping[str, str]
    images: Mapping[str, Stamp] = field(repr=False)
    attestations: Mapping[str, str] = field(repr=False)


def encode(contents: Contents) -> bytes:
    """The one text of it."""
    return json.dumps({"schema": SCHEMA, **asdict(contents)}, sort_keys=True, separators=(",", ":")).encode()


def decode(text: bytes, name: str) -> Contents:
    """Read it back. BadInput, naming the file ``name``, for whatever does not belong."""
    try:
        document = json.loads(text)
        found = _contents(document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput(f"{name}: the list of what it holds cannot be read: {error!r}") from None
    return found


def _contents(document: Mapping[str, Any]) -> Contents:
    if document["schema"] != SCHEMA:
        _refuse(f"schema {document['schema']!r}, this ESB reads {SCHEMA}")
    blobs = {_hash(sha256): _size(size) for sha256, size in document["blobs"].items()}
    found = Contents(
        architecture=str(document["architecture"]),
        lock=_hash(document["lock"]),
        root_ca=_hash(document["root_ca"]),
        blobs=blobs,
        wheels=_files(document["wheels"], ".whl"),
        locks=tuple(_hash(one) for one in document["locks"]),
        engine=_files(document["engine"], ".deb"),
        host=_files(document["host"], ".deb"),
        images={_image(name): _stamp(one) for name, one in document["images"].items()},
        attestations={_attestation(name): _hash(one) for name, one in document["attestations"].items()},
    )
    for sha256 in used(found):
        if sha256 not in blobs:
            _refuse(f"it names {sha256}, which is not in it")
    return found


def used(contents: Contents) -> set[str]:
    """The files that the list says a use of, apart from the lock's own and the images' layers."""
    named = (contents.wheels, contents.engine, contents.host, contents.attestations)
    images = {stamp.id.removeprefix("sha256:") for stamp in contents.images.values()}
    return {contents.lock, contents.root_ca, *images} | {sha256 for one in named for sha256 in one.values()}


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


def _hash(text: object) -> str:
    if not isinstance(text, str) or not _HASH.fullmatch(text):
        _refuse(f"{text!r} is not a SHA-256")
    return text


def _size(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        _refuse(f"{number!r} is not a size")
    return number


def _files(named: Mapping[str, object], suffix: str) -> dict[str, str]:
    for name in named:
        if not _FILE.fullmatch(name) or not name.endswith(suffix):
            _refuse(f"{name!r} is not a file name")
    return {name: _hash(sha256) for name, sha256 in named.items()}


def _image(name: str) -> str:
    return name if name in FAMILY else _refuse(f"there is no image {name!r}")


def _stamp(members: Mapping[str, Any]) -> Stamp:
    if set(members) != _STAMP or not isinstance(members["form"], int):
        _refuse("an image's stamp has other members")
    texts = [members["id"], *members["parts"], *members["parts"].values()]
    if (
        not all(isinstance(text, str) for text in texts)
        or members["engine_id"]
        or members["parent_engine_id"]
    ):
        _refuse("an image's stamp holds something else than names and hashes")
    _hash(members["id"].removeprefix("sha256:"))
    return Stamp(**members)


def _attestation(name: str) -> str:
    image, _, file = name.partition("/")
    _hash(image)
    return name if file in {*FILES.values(), PUBLIC_KEY} else _refuse(f"{name!r} is no statement of ours")
