"""Certificates of one run: made or checked, and told to plain ``docker compose``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from esb_builder import ca
from esb_builder.ca import files
from esb_common import settings

from esb_cli import dotenv
from esb_cli.framework import Session


def ready(session: Session) -> ca.Trust:
    """Make what is missing, check everything, and write ``.env``. BadInput before anything else happens."""
    folders = ca.Folders.from_environ(session.environ)
    told = _settings(session, folders)
    trust = ca.init(folders)
    _write(session.repository / ".env", told | {"ESB_ROOT_CA_SHA256": trust.root_file_sha256})
    return trust


def _settings(session: Session, folders: ca.Folders) -> dict[str, str]:
    home = settings.folder(session.environ, "ESB_HOME", "~/.esb")
    return {
        "ESB_CERT_DIR": str(folders.certificates),
        "ESB_UID": str(folders.uid),
        "ESB_GID": str(folders.gid),
        "ESB_IMAGE_DIR": str(settings.folder(session.environ, "ESB_IMAGE_DIR", home / "images")),
        "ESB_PORT": str(settings.number(session.environ, "ESB_PORT", 8443, least=1, most=65535)),
    }


def _write(path: Path, values: Mapping[str, str]) -> None:
    """Set our names; the file is touched only where that changes it."""
    old = (files.read(path) or b"").decode()
    new = dotenv.merge(old, values)
    if new != old:
        files.write(path, new.encode(), 0o600)
