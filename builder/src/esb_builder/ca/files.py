"""Where keys and certificates lie, who may read them, and writes that are whole or absent."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_common import settings
from esb_common.errors import BadInput

_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z")


@dataclass(frozen=True, slots=True)
class Folders:
    """``certificates`` is what images and the gateway need; ``authority`` holds our CA's private key."""

    certificates: Path
    authority: Path
    uid: int
    gid: int
    names: frozenset[str]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Folders:
        """ESB_CERT_DIR, ESB_HOME, ESB_UID and ESB_GID with their defaults."""
        home = settings.folder(environ, "ESB_HOME", "~/.esb")
        uid, gid = settings.gateway_user(environ, os.getuid(), os.getgid())
        return cls(
            certificates=settings.folder(environ, "ESB_CERT_DIR", home / "certs"),
            authority=home / "ca",
            uid=uid,
            gid=gid,
            names=server_names(socket.gethostname()),
        )

    @property
    def root(self) -> Path:
        """The CA that images carry: ours or the company's."""
        return self.certificates / "rootCA.crt"

    @property
    def certificate(self) -> Path:
        """The gateway's, with its chain."""
        return self.certificates / "gateway.crt"

    @property
    def key(self) -> Path:
        """The gateway's private key, for its user alone."""
        return self.certificates / "gateway.key"

    @property
    def request(self) -> Path:
        """For a company's CA to sign."""
        return self.certificates / "gateway.csr"

    @property
    def own_root(self) -> Path:
        """The CA that we made, if any."""
        return self.authority / "rootCA.crt"

    @property
    def own_key(self) -> Path:
        """Its private key; mounted nowhere."""
        return self.authority / "rootCA.key"


def server_names(host: str) -> frozenset[str]:
    """What clients may call the gateway; a host name that no DNS allows is left out."""
    own = {host.lower()} if _HOST.match(host.lower()) else set()
    return frozenset({"localhost", "127.0.0.1", "::1", "gateway"} | own)


def read(path: Path) -> bytes | None:
    """The file's bytes; None where it is absent. BadInput where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}", "make it a file that this user can read"
        ) from None


def write(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace ``path`` in one step; its mode and owner hold before its content is visible."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        if owner is not None and os.geteuid() == 0:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)
    aside.rename(path)


def folder(path: Path, mode: int) -> None:
    """Make the folder where it is missing, and give it ``mode`` where it is ours."""
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_uid == os.geteuid() and path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)
