"""Certificates and credentials of one run: made or checked, and told to plain ``docker compose``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from esb_builder import ca
from esb_builder.ca import files

from esb_cli import credentials, dotenv
from esb_cli.box.layout import Layout, layout
from esb_cli.framework import Session


def ready(session: Session) -> ca.Trust:
    """Make what is missing, check everything, and write ``.env``. BadInput before anything else happens."""
    folders = ca.Folders.from_environ(session.environ)
    place = layout(session.environ)
    told = _settings(folders, place)
    trust = ca.init(folders)
    credentials.ready(place)
    _write(session.repository / ".env", told | {"ESB_ROOT_CA_SHA256": trust.root_file_sha256})
    return trust


def _settings(folders: ca.Folders, place: Layout) -> dict[str, str]:
    return {
        "ESB_CERT_DIR": str(folders.certificates),
        "ESB_CREDENTIALS_DIR": str(place.credentials),
        "ESB_UID": str(folders.uid),
        "ESB_GID": str(folders.gid),
        "ESB_IMAGE_DIR": str(place.images),
        "ESB_PORT": str(place.port),
    }


def _write(path: Path, values: Mapping[str, str]) -> None:
    """Set our names; the file is touched only where that changes it."""
    old = (files.read(path) or b"").decode()
    new = dotenv.merge(old, values)
    if new != old:
        files.write(path, new.encode(), 0o600)
