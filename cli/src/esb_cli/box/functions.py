"""Folders with a ``function.json`` become functions of the box.

``function.json`` holds the members of AWS's CreateFunction except the code; beside it lie the
code and, where the function has dependencies, a hash-pinned ``requirements.lock`` that uv installs
into the package. The zip is deterministic (sorted names, one time, fixed modes), so an unchanged
folder gives AWS's ``CodeSha256`` that the box already has, and nothing is uploaded.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from esb_common.errors import BadInput

from esb_cli.box.client import FUNCTIONS, Gateway, Refused

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_NOT_CODE = {"function.json", "requirements.in", "requirements.lock"}
Change = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Folder:
    """A function as a folder: its settings (CreateFunction's members) and its zip."""

    settings: dict[str, Any]
    package: bytes

    @property
    def name(self) -> str:
        return str(self.settings["FunctionName"])

    @property
    def code_sha256(self) -> str:
        """As AWS writes it: base64 of the SHA-256 of the zip."""
        return base64.b64encode(hashlib.sha256(self.package).digest()).decode()


def read_folder(folder: Path, dependencies: Path | None = None) -> Folder:
    """The function in ``folder``, its installed ``dependencies`` (a folder) packed beside its code."""
    description = folder / "function.json"
    try:
        settings = json.loads(description.read_text())
    except FileNotFoundError:
        raise BadInput(f"{folder} holds no function.json") from None
    except ValueError as error:
        raise BadInput(f"{description} is not JSON: {error}") from None
    if not isinstance(settings, dict) or not isinstance(settings.get("FunctionName"), str):
        raise BadInput(f"{description} names no FunctionName")
    return Folder(settings, package([folder, *([dependencies] if dependencies else [])]))


def package(folders: list[Path]) -> bytes:
    """One zip of the files of several folders; the same files give the same bytes."""
    files = {path.relative_to(root).as_posix(): path for root in folders for path in _files(root)}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return out.getvalue()


def _files(root: Path) -> list[Path]:
    return [
        path
        for path in root.rglob("*")
        if path.is_file()
        and not {"__pycache__", ".lock"} & set(path.relative_to(root).parts)
        and not (path.parent == root and path.name in _NOT_CODE)
    ]


def deploy(gateway: Gateway, folder: Folder) -> Change:
    """Create the function, or bring code and settings up to the folder's; says what it changed."""
    path = f"{FUNCTIONS}/{quote(folder.name, safe='')}"
    code = {"ZipFile": base64.b64encode(folder.package).decode()}
    try:
        there = gateway.call("GET", f"{path}/configuration")
    except Refused as error:
        if error.name != "ResourceNotFoundException":
            raise
        gateway.call("POST", FUNCTIONS, folder.settings | {"Code": code})
        return "created"
    changed: Change = "unchanged"
    if there["CodeSha256"] != folder.code_sha256:
        gateway.call("PUT", f"{path}/code", code)
        changed = "updated"
    differing = {name: value for name, value in folder.settings.items() if there.get(name) != value}
    if differing:
        gateway.call("PUT", f"{path}/configuration", differing)
        changed = "updated"
    return changed
