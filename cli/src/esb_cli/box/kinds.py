"""The kinds of box that ``up`` can start, behind one shape.

A kind knows how to prepare (environments or images), start, stop and look; which one it is was the
person's choice, and no kind ever turns into another.
"""

from __future__ import annotations

from typing import Any, Protocol

from esb_common.errors import NotPossibleHere

from esb_cli.box.layout import Layout, Mode
from esb_cli.framework import Session


class Kind(Protocol):
    """One way to run gateway and node."""

    def prepare(self) -> None:
        """Have all that starting needs: environments, or an engine and images."""

    def start(self) -> None:
        """Bring the box to what this checkout and these settings say; nothing where it is so."""

    def gave_up(self) -> bool:
        """Whether waiting any longer is useless."""

    def last_words(self) -> str:
        """What a person should read when the box does not become ready."""

    def stop(self, *, volumes: bool) -> bool:
        """End the box; False where none ran. ``volumes``: also all that it kept."""

    def look(self) -> dict[str, Any]:
        """Its programs and images, for ``status``."""


def kind(mode: Mode, session: Session, layout: Layout) -> Kind:
    """The kind of ``mode``. NotPossibleHere for the one that is not built yet."""
    if mode == "embedded":
        from esb_cli.box.embedded import Embedded

        return Embedded(session, layout)
    if mode in ("containerd", "firecracker"):
        from esb_cli.box import containers

        return containers.Containers(session, layout, containers.WAYS[mode])
    raise NotPossibleHere(
        f"ESB has no {mode} driver yet",
        "unset ESB_MODE for containers, or run without an engine: ./esb up --embedded",
    )
