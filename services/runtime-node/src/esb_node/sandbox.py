"""``python -m esb_node.sandbox SPEC.json -- PROGRAM ARGUMENT…``: run a program of ours with little power.

Started as root it gives the program a private root (the host's ``/usr`` and ``/etc`` read-only, an
own ``/proc`` that shows only its own processes, five devices, an empty ``/tmp``, and the binds of
the spec at the paths it names), the spec's user and group, and no capability for good; started
without root there is nothing to drop and the program runs as it is. The program replaces this
process: its id, signals, output and exit code are the program's own.

The spec is a JSON object with the members of :class:`Spec`; the program is found as the
sandbox sees it, and its environment is this process's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from esb_common.errors import BadInput, EsbError, Misuse, NotPossibleHere

from esb_node.hands import linux, view

_SCRATCH_MIB = 256


@dataclass(frozen=True, slots=True)
class Spec:
    """``binds``: what is shown beyond the system's own. ``host_network`` false: only an own loopback.

    ``end_with_parent``: the program gets SIGTERM when the thread that started it ends.
    """

    uid: int
    gid: int
    binds: tuple[view.Bind, ...]
    host_network: bool = True
    end_with_parent: bool = False


def read_spec(content: bytes) -> Spec:
    """A spec from its JSON. BadInput where it is not one."""
    try:
        raw = json.loads(content)
        binds = tuple(_bind(one) for one in raw.pop("binds"))
        return Spec(**raw, binds=binds)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(
            f"not a sandbox's spec: {error!r}", "see esb_node/sandbox.py for its members"
        ) from None


def _bind(raw: Mapping[str, Any]) -> view.Bind:
    bind = view.Bind(**raw)
    if not bind.at.startswith("/") or not bind.source.startswith("/"):
        raise ValueError(f"a bind's paths must be absolute: {bind}")
    return bind


def things(spec: Spec) -> Iterator[view.Thing]:
    """All that the program sees."""
    yield from view.host_programs()
    yield view.Bind("/etc", "/etc")
    yield from view.devices()
    yield view.Processes(read_only=True, own_only=True)
    yield view.Scratch("/tmp", _SCRATCH_MIB)  # noqa: S108 - its own
    # Outer paths first, or an outer one would cover what lies within it.
    yield from sorted(spec.binds, key=lambda bind: len(Path(bind.at).parts))


def enter(spec: Spec) -> None:
    """Turn this process, root's and of one thread, into the spec's. OSError says what failed."""
    os.unshare(os.CLONE_NEWNS | (0 if spec.host_network else os.CLONE_NEWNET))
    if not spec.host_network:
        linux.raise_loopback()
    os.umask(0o022)
    here = Path.cwd()
    view.enter(list(things(spec)))
    os.chdir(here if here.is_dir() else "/")
    linux.empty_capability_bounds()
    os.setgroups(())
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    linux.drop_capabilities()
    linux.never_gain_powers()


def run(spec: Spec, program: list[str]) -> NoReturn:
    """Enter the sandbox where this process is root's, then become ``program``."""
    if os.geteuid() == 0:
        try:
            enter(spec)
        except OSError as error:
            hint = "it needs CAP_SYS_ADMIN, Linux 5.12 and every bind's source to exist"
            raise NotPossibleHere(f"cannot make a sandbox: {error}", hint) from None
    if spec.end_with_parent:
        linux.die_with_parent(signal.SIGTERM)
    try:
        os.execvp(program[0], program)  # noqa: S606 - becoming the program is the point
    except OSError as error:
        raise Misuse(f"cannot run {program[0]}: {error.strerror}", "is it visible in the sandbox?") from None


def main(arguments: list[str]) -> int:
    """The exit code, where the program could not be started at all."""
    try:
        match arguments:
            case [spec, "--", *program] if program:
                run(read_spec(Path(spec).read_bytes()), program)
            case _:
                raise Misuse("usage: python -m esb_node.sandbox SPEC.json -- PROGRAM ARGUMENT…")
    except OSError as error:
        print(f"esb-sandbox: {error}", file=sys.stderr)
        return BadInput.exit_code
    except EsbError as error:
        print(f"esb-sandbox: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
