"""The node's one place that starts other programs.

Every program gets a clean environment (``PATH`` and what its caller names), an empty standard input
unless it is fed, and no descriptor of ours. The hint of a failure is the command as one line that can
be pasted into a shell. Workers are not started here: their life belongs to a driver.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping, Sequence

from esb_common.errors import Broken

_TOLD = 2000
"""Bytes of a failed program's last words that an error repeats."""


def pasteable(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """The command as one line for a shell; only the names given by the caller, so no secret can be in it."""
    return " ".join(
        [*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(arguments)]
    )


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **environment}


async def run(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    feed: bytes | None = None,
    timeout_s: float = 30,
) -> bytes:
    """Run a program to its end and return its standard output. Broken where it fails or takes too long."""
    extra = environment or {}
    process = await asyncio.create_subprocess_exec(
        *arguments,
        env=_clean(extra),
        stdin=asyncio.subprocess.DEVNULL if feed is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(feed), timeout_s)
    except TimeoutError:
        raise Broken(f"no end after {timeout_s:g} s", pasteable(arguments, extra)) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = (err or out)[-_TOLD:].decode(errors="replace").strip()
        raise Broken(f"{arguments[0]} failed with {process.returncode}: {words}", pasteable(arguments, extra))
    return out


async def spawn(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
    stdout: int = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    """Start a program that stays. Its ``stdout`` carries all it says and must be read to its end.

    It inherits ``descriptors`` under their numbers; ``stdout`` may be a descriptor instead (2: among our own
    words). It has a session of its own, so that a Ctrl-C meant for the node does not end it first.
    """
    return await asyncio.create_subprocess_exec(
        *arguments,
        env=_clean(environment or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(descriptors),
    )
