"""The node's part of the settings, frozen, read once in ``__main__``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_common import settings
from esb_common.log import LEVELS

MODES = ("containerd", "embedded", "firecracker")
"""Modes of this node."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """All that a node is told. ``gateway_gid`` is None where the node cannot give files away (no root)."""

    mode: str
    data_folder: Path
    run_folder: Path
    node_folder: Path
    containerd_folder: Path
    image_folder: Path
    python_prefix: Path
    runtime_folder: Path
    no_isolation: bool
    gateway_uid: int
    gateway_gid: int | None
    program_path: str
    log_level: str


def node_settings(environ: Mapping[str, str], uid: int, gid: int) -> NodeSettings:
    """Settings from ``environ``; ``uid`` and ``gid`` are those of this process. Misuse where one is wrong."""
    settings.refuse_unknown(environ)
    home = settings.folder(environ, "ESB_HOME", "~/.esb")
    node_folder = settings.folder(environ, "ESB_NODE_DIR", home / "box" / "node")
    return NodeSettings(
        mode=settings.choice(environ, "ESB_MODE", "containerd", MODES),
        data_folder=settings.folder(environ, "ESB_DATA_DIR", home / "box" / "data"),
        run_folder=settings.folder(environ, "ESB_RUN_DIR", home / "box" / "run"),
        node_folder=node_folder,
        containerd_folder=settings.folder(environ, "ESB_CONTAINERD_DIR", node_folder / "containerd"),
        image_folder=settings.folder(environ, "ESB_IMAGE_DIR", home / "images"),
        python_prefix=settings.folder(environ, "ESB_PYTHON_PREFIX", sys.base_prefix),
        runtime_folder=settings.folder(environ, "ESB_RUNTIME_DIR", home / "runtime"),
        no_isolation=settings.flag(environ, "ESB_NO_ISOLATION"),
        # Without root the gateway can only be our own user; with it, it never should be.
        gateway_uid=settings.number(environ, "ESB_UID", uid) if uid == 0 else uid,
        gateway_gid=settings.number(environ, "ESB_GID", gid) if uid == 0 else None,
        program_path=environ.get("PATH", os.defpath),
        log_level=settings.choice(environ, "ESB_LOG_LEVEL", "info", LEVELS),
    )
