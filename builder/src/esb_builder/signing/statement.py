"""What is said of an image: an in-toto statement, about its id and nothing else.

https://github.com/in-toto/attestation (``spec/v1/statement.md``) · https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esb_common.errors import BadInput
from esb_common.ids import Digest

from esb_builder.signing.inputs import Input, Record

TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD, BUILDER = "urn:esb:build:1", "urn:esb:builder:1"


@dataclass(frozen=True, slots=True)
class Statement:
    """``predicate`` is said of the image ``id`` in the sense of ``kind``."""

    image: str
    id: Digest
    kind: str
    predicate: Mapping[str, Any]

    def encoded(self) -> bytes:
        """The one JSON text of it."""
        document = {
            "_type": TYPE,
            "subject": [{"name": self.image, "digest": _digest(self.id)}],
            "predicateType": self.kind,
            "predicate": self.predicate,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(payload: bytes, name: str) -> Statement:
    """A statement about one image. BadInput, naming ``name``, where it is not one."""
    try:
        document = json.loads(payload)
        (subject,) = document["subject"]
        found = document["_type"], subject["name"], subject["digest"]["sha256"], document["predicateType"]
        kind, image, sha256, predicate_type = map(str, found)
        predicate = dict(document["predicate"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{name} holds no statement about one image") from None
    if kind != TYPE:
        raise BadInput(f"{name} holds a {kind}, not a {TYPE}")
    return Statement(image, Digest(f"sha256:{sha256}"), predicate_type, predicate)


def provenance(record: Record) -> Statement:
    """How an image came to be: its arguments, and every input by digest."""
    predicate = {
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {"image": record.image, "arguments": dict(record.arguments)},
            "internalParameters": {"locked": record.locked, "recipe": record.recipe, "form": record.form},
            "resolvedDependencies": [_dependency(one) for one in _sorted(record.inputs)],
        },
        "runDetails": {"builder": {"id": BUILDER}, "metadata": {"invocationId": record.key}},
    }
    return Statement(record.image, record.id, PROVENANCE, predicate)


def _dependency(one: Input) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "digest": {"sha256": one.sha256}}
    return found | ({"annotations": {"context": one.context}} if one.context else {})


def _sorted(inputs: Sequence[Input]) -> Iterator[Input]:
    yield from sorted(inputs, key=lambda one: (one.context, one.name))


def _digest(image: Digest) -> dict[str, str]:
    algorithm, _, value = image.partition(":")
    return {algorithm: value}
