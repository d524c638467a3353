"""Keys and addresses of the WireGuard tunnel between gateway and runtime node, made once and kept.

Each side has a folder of its own, so that a container sees its own private key and nobody
else's: ``private.key`` (0600), ``tunnel.conf`` (what ``wg setconf`` reads, without that key), ``address`` of
this side and ``peer``, where the other one listens. They are read by ``services/common/tunnel.sh``. A
side on another machine is a matter of editing ``peer``: what is there is never written again.

The addresses are of the range for measurements (RFC 2544), which no network at home or in a
factory uses.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from esb_common import settings
from esb_common.errors import BadInput

from esb_builder.ca import files

PORT = 51820
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Side:
    """One end: its folder's name, its address in the tunnel, and its name on the network below."""

    name: str
    address: str
    host: str


GATEWAY = Side("gateway", "198.18.40.1", "gateway")
NODE = Side("node", "198.18.40.2", "runtime-node")


def place(environ: Mapping[str, str]) -> Path:
    """The folder of both sides: ESB_TUNNEL_DIR, else ``tunnel`` in ESB_HOME."""
    home = settings.folder(environ, "ESB_HOME", "~/.esb")
    return settings.folder(environ, "ESB_TUNNEL_DIR", home / "tunnel")


def init(folder: Path) -> bool:
    """Make what is missing; whether anything was. BadInput where a key that is there is not one."""
    keys = {side: _key(folder / side.name / "private.key") for side in (GATEWAY, NODE)}
    made = [
        _complete(folder / side.name, side, other, keys[other][0])
        for side, other in ((GATEWAY, NODE), (NODE, GATEWAY))
    ]
    return any(made) or any(is_new for _, is_new in keys.values())


def _key(path: Path) -> tuple[X25519PrivateKey, bool]:
    """The private key at ``path``, and whether it had to be made."""
    if (text := files.read(path)) is not None:
        return _read(text, path), False
    files.folder(path.parents[1], 0o700)
    files.folder(path.parent, 0o700)
    key = X25519PrivateKey.generate()
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    files.write(path, base64.b64encode(raw) + b"\n", 0o600)
    return key, True


def _read(text: bytes, path: Path) -> X25519PrivateKey:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise BadInput(
            f"{path} is not a WireGuard key", f"remove {path.parents[1]}: both sides are made anew"
        )
    if path.stat().st_mode & 0o077:
        raise BadInput(f"{path} is open to others", f"chmod 600 {path}")
    return X25519PrivateKey.from_private_bytes(raw)


def _complete(folder: Path, side: Side, other: Side, key: X25519PrivateKey) -> bool:
    content = {
        "tunnel.conf": (
            f"[Interface]\nListenPort = {PORT}\n\n"
            f"[Peer]\nPublicKey = {public(key)}\nAllowedIPs = {other.address}/32\n"
        ),
        "address": f"{side.address}/30\n",
        "peer": f"{other.host}:{PORT}\n",
    }
    missing = [name for name in content if not (folder / name).exists()]
    for name in missing:
        files.write(folder / name, content[name].encode(), 0o644)
    return bool(missing)


def public(key: X25519PrivateKey) -> str:
    """The public half, as WireGuard writes it."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(raw).decode()
