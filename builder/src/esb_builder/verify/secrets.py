"""No key, token or password in an image: in any layer, deleted files included, nor in its configuration.

Every file of every layer is read once, whichever images share it, so what a later layer deleted is
seen too: 1.5 s for the family. A pattern is tried only where its literal beginning stands, and tokens are
looked for in everything but compiled programs, whose constants look like them. A private key counts
only with its body, because programs hold the bare frames; a name alone (``.env``) counts because nobody ships
such a file by intent.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from esb_builder.archive import Change, Layer, Window
from esb_builder.verify import elf
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

MEND = "make the secret a build secret (RUN --mount=type=secret), rebuild, and replace what leaked"

_PIECE = 8 << 20
_SHARED = 4096
"""Bytes that two pieces of a large file share; what is looked for is shorter."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret: what it is, the literals it begins with, and how it reads from there."""

    what: str
    beginnings: tuple[bytes, ...]
    whole: re.Pattern[bytes]

    def find(self, piece: bytes) -> Iterator[bytes]:
        for beginning in self.beginnings:
            at = piece.find(beginning)
            while at >= 0:
                if match := self.whole.match(piece, at):
                    yield match[0]
                at = piece.find(beginning, at + len(beginning))


PRIVATE_KEY = Pattern(
    "a private key",
    (b"-----BEGIN ",),
    re.compile(
        rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+(?:[A-Za-z-]+: [^\n]{0,120}\n|\s)*[A-Za-z0-9+/=\s]{60,}"
    ),
)
TOKENS = (
    Pattern(
        "an AWS access key",
        (b"AKIA", b"ASIA"),
        re.compile(rb"(?<![A-Za-z0-9/+])A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9/+=])(?<!EXAMPLE)"),
    ),
    Pattern(
        "a GitHub token",
        (b"ghp_", b"gho_", b"ghs_", b"ghu_", b"github_pat_"),
        re.compile(rb"(?<![A-Za-z0-9])(gh[posu]_[A-Za-z0-9]{36}(?![A-Za-z0-9])|github_pat_\w{60,90})"),
    ),
    Pattern("a GitLab token", (b"glpat-",), re.compile(rb"glpat-[A-Za-z0-9_-]{20}(?![A-Za-z0-9_-])")),
    Pattern("a package index's token", (b"pypi-AgE",), re.compile(rb"pypi-AgE[A-Za-z0-9_-]{50,}")),
    Pattern(
        "a Slack token", (b"xoxb-", b"xoxp-"), re.compile(rb"xox[bp]-\d{8,14}-\d{8,14}-[A-Za-z0-9-]{20,}")
    ),
    Pattern("a Google API key", (b"AIza",), re.compile(rb"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
    Pattern(
        "a password in an address",
        (b"://",),
        re.compile(
            rb"://(?!user(?:name)?:password@)[A-Za-z0-9._~%-]{1,64}:[A-Za-z0-9._~%!*+-]{8,64}@[A-Za-z0-9.-]+"
        ),
    ),
)
EXAMPLES = frozenset(
    {
        "c41dc6cc1361b41b23dc261c959bed84bae2387ae3f196b1a60b0c61dd195d5b",
        "ac1e3b0c79d47689562ef8e864681b377afea59a786db073f647704adfcc82f4",
        "d1dc75186fa035add68642556d4cdf68b2a1b74b4b60761b17f08fca7c79a606",
        "a3d8965527fc3e07ed347c6d68cc95cc5511ae90a6ed7b9e9d443eceb2f5eaff",
        "09cd48c2fbe44bf1e68565684f54c51299e75931ed42467cbc7be37c021e7ede",
        "7f173f65ea04836d5d5fab00afa67897e71dbc01662db9bcbe807b8507b20487",
    }
)
"""SHA-256 of published private keys: those with which Debian 12's libgnutls tests itself."""

_NAMES = re.compile(
    r"(.*/)?(\.env(\.(?!example$|sample$)\w+)?|\.netrc|\.pgpass|\.git-credentials|\.pypirc|id_(rsa|dsa|ecdsa|ed25519)"
    r"|\.docker/config\.json|\.aws/credentials|[^/]+\.(p12|pfx|jks|key))"
)
_RESIDUE = re.compile(r"(tmp|var/tmp|run|root)/.+|(.*/)?(esb_\w+|[^/]+\.(crt|pem|key|token))")
_MOUNT = re.compile(r"run/secrets/.+")
_ENV = re.compile(r"PASSW(OR)?D|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)


def none(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """No secret in any layer's contents and names, and none in history, labels and environment."""
    image = subject.image
    for number, layer in enumerate(image.layers, 1):
        where = f" (layer {number}, {layer.diff_id})"
        for change in layer.changes:
            if change.node is not None and change.node.kind == "file" and change.node.size:
                for what in image.archive.once(change.node, _held):
                    yield Finding(f"{what} is in a layer", change.path + where, MEND)
        for path, told in _named(layer):
            yield Finding(told, path + where, MEND)
    yield from _configured(subject)


def _held(content: Window) -> tuple[str, ...]:
    """What secrets a file holds."""
    found: dict[str, None] = {}
    kept, compiled = b"", False
    while chunk := content.read(_PIECE):
        compiled = compiled or (not kept and chunk.startswith(elf.MAGIC))
        piece = kept + chunk if kept else chunk
        found |= dict.fromkeys(_in(piece, (PRIVATE_KEY,) if compiled else (PRIVATE_KEY, *TOKENS)))
        kept = piece[-_SHARED:]
    return tuple(found)


def _in(piece: bytes, patterns: Iterable[Pattern] = (PRIVATE_KEY, *TOKENS)) -> Iterator[str]:
    for pattern in patterns:
        if any(hashlib.sha256(one).hexdigest() not in EXAMPLES for one in pattern.find(piece)):
            yield pattern.what


def _named(layer: Layer) -> Iterator[tuple[str, str]]:
    for change in layer.changes:
        if _MOUNT.fullmatch(change.path):
            yield change.path, "what a secret was mounted over stayed in a layer"
        elif _is_file(change) and _NAMES.fullmatch(change.path):
            yield change.path, "a file of this name holds secrets"
        elif change.node and _is_file(change) and not change.node.size and _RESIDUE.fullmatch(change.path):
            yield change.path, "an empty file where a secret was mounted"


def _is_file(change: Change) -> bool:
    return change.node is not None and change.node.kind == "file"


def _configured(subject: Subject) -> Iterator[Finding]:
    config = subject.image.config
    own = config.get("config", {})
    for place, value in (
        ("config.Env", own.get("Env")),
        ("config.Labels", own.get("Labels")),
        ("config.Entrypoint", own.get("Entrypoint")),
        ("config.Cmd", own.get("Cmd")),
        ("history", config.get("history")),
    ):
        text = json.dumps(value, ensure_ascii=False).replace("\\n", "\n").encode(errors="replace")
        for what in _in(text):
            yield Finding(f"{what} is in the image's configuration", place, MEND)
    for pair in own.get("Env") or ():
        name, _, value = str(pair).partition("=")
        if value and _ENV.search(name):
            yield Finding(f"the variable {name} carries a secret", "config.Env", MEND)
