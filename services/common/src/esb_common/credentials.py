"""Who may call the box: one AWS-style key pair, and API keys for plain HTTP clients.

They lie in one file, ``credentials.json`` in ``ESB_CREDENTIALS_DIR``, which ``esb up`` makes and only the
gateway's user may read; they travel in no setting and no argument. The pair's secret is there
as it is, since a signature can only be checked with it; of an API key only the SHA-256, which
suffices because keys are 256 random bits. Shape: ``contracts/authentication.md``.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

FILE = "credentials.json"
SCHEMA = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_ACCESS_KEY = re.compile(r"[A-Z0-9]{16,128}")
MOST_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One client's key. ``calls_per_s`` 0 is without a limit; ``burst`` calls may come at once."""

    name: str
    sha256: str
    calls_per_s: int = 0
    burst: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError("an API key's name is 1 to 64 letters, digits, dots, dashes or underscores")
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"the API key {self.name} has no SHA-256")
        for value in (self.calls_per_s, self.burst):
            if type(value) is not int or not 0 <= value <= MOST_PER_S:
                raise ValueError(f"the API key {self.name} has a limit outside 0 to {MOST_PER_S}")
        if self.calls_per_s and not self.burst:
            raise ValueError(f"the API key {self.name} has a rate, but no burst")


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that lets somebody in."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    api_keys: tuple[ApiKey, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.access_key_id, str) or not _ACCESS_KEY.fullmatch(self.access_key_id):
            raise ValueError("access_key_id is not 16 to 128 capital letters and digits")
        if not isinstance(self.secret_access_key, str) or len(self.secret_access_key) < 32:
            raise ValueError("secret_access_key is not a text of 32 letters or more")
        if len({key.name for key in self.api_keys}) < len(self.api_keys):
            raise ValueError("two API keys have one name")


def sha256_of(key: str) -> str:
    """What is kept of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()


def encode(credentials: Credentials) -> bytes:
    """The file's content."""
    return json.dumps({"schema": SCHEMA} | asdict(credentials), indent=1).encode() + b"\n"


def decode(content: bytes) -> Credentials:
    """Credentials from the file's content. ValueError says what is wrong, without any value of it."""
    try:
        members: dict[str, Any] = json.loads(content)
        if members.pop("schema", None) != SCHEMA:
            raise ValueError(f"not credentials of schema {SCHEMA}")
        keys = tuple(ApiKey(**one) for one in members.pop("api_keys", ()))
        return Credentials(**members, api_keys=keys)
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError):
        raise ValueError("not the JSON of credentials") from None
