"""The key that signs what this machine made: ed25519, for its owner alone, in ``${ESB_HOME}/keys``.

A signature is worth what the fingerprint's way to the reader is worth, so verifying always takes one,
and none is ever read from beside the signatures. The fingerprint is the SHA-256 of the
public key in its standard form (DER of SubjectPublicKeyInfo, RFC 8410).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from esb_common.errors import BadInput, Misuse

from esb_builder.ca import files

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
MADE = "./esb key init"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key."""

    key: Ed25519PublicKey

    @property
    def fingerprint(self) -> str:
        """64 hex digits."""
        spki = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()

    @property
    def pem(self) -> bytes:
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def holds(self, signature: bytes, content: bytes) -> bool:
        """Whether the signature is this key's, of exactly this content."""
        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key. The same key and content give the same signature."""

    key: Ed25519PrivateKey

    def sign(self, content: bytes) -> bytes:
        return self.key.sign(content)

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.key.public_key())


def path(home: Path) -> Path:
    """Where the private key lies."""
    return home / "keys" / "signing.key"


def init(home: Path) -> tuple[Verifier, bool]:
    """The key, made where there is none (and then True)."""
    if path(home).exists():
        return load(home).verifier, False
    key = Ed25519PrivateKey.generate()
    files.folder(path(home).parent, 0o700)
    files.write(path(home), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return Signer(key).verifier, True


def load(home: Path) -> Signer:
    """The key of this machine. BadInput where there is none, or where others may read it."""
    place = path(home)
    content = files.read(place)
    if content is None:
        raise BadInput(f"there is no signing key at {place}", f"make one: {MADE}")
    if place.stat().st_mode & 0o077:
        raise BadInput(f"others than its owner may read {place}", f"chmod 0600 {place}, or make a new one")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{place} is not an ed25519 private key", f"move it away, then: {MADE}")
    return Signer(key)


def verifier(pem: bytes, name: str) -> Verifier:
    """A public key. BadInput where it is not one; ``name`` says whose."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{name} is not an ed25519 public key")
    return Verifier(key)


def fingerprint(text: str) -> str:
    """A fingerprint as a person gave it. Misuse where it is not one."""
    found = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if not _FINGERPRINT.fullmatch(found):
        raise Misuse(
            f"{text!r} is not a fingerprint", "64 hex digits; who signed reads it with: ./esb key show"
        )
    return found
