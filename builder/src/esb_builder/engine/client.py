"""An engine that answers, as the rest of the house sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from esb_builder import run


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker engine with every feature that our builds need.

    ``environ`` is the whole environment for a ``docker`` command; ``ours`` says that we run it
    in ``prefix`` (None for a foreign one).
    """

    environ: Mapping[str, str] = field(repr=False)
    ours: bool
    prefix: Path | None

    @property
    def address(self) -> str:
        """DOCKER_HOST, or the context's word for a foreign engine."""
        return self.environ.get("DOCKER_HOST", "the client's current context")

    def docker(
        self,
        *args: str | Path,
        check: bool = True,
        stdin: bytes | None = None,
        timeout_s: float | None = None,
    ) -> run.Completed:
        """Run ``docker args`` to its end. Broken where it fails and ``check``, or takes too long."""
        return run.run(("docker", *args), environ=self.environ, check=check, stdin=stdin, timeout_s=timeout_s)
