"""Writes ``docs/hostile-input.md`` from the table that the tests run: ``python tests/hostile/page.py``."""

from __future__ import annotations

import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(HOUSE / name) for name in ("builder/src", "services/common/src", "tests")]

from hostile import functions, packages, requests, wire  # noqa: E402 - the path is set above
from hostile.kind import Kind  # noqa: E402

PAGE = HOUSE / "docs/hostile-input.md"
CHAPTERS = {
    "Bytes": wire.KINDS,
    "Requests": requests.KINDS,
    "Packages": packages.KINDS,
    "Functions": functions.KINDS,
}
KINDS = tuple(kind for kinds in CHAPTERS.values() for kind in kinds)
_HEAD = f"""# Hostile input

{len(KINDS)} kinds of bad input and what the box answers. `tests/hostile` sends each to a running box, in
every mode; after each the box is healthy and the next good call is answered. This page is written from
the table of those tests (`python tests/hostile/page.py`), and one of them compares the two.

*closed*: the connection ended without an answer. A status is followed by AWS's error name, the
function's error type, a short answer, or the message.
"""


def page() -> str:
    """The page's text."""
    return _HEAD + "".join(_chapter(name, kinds) for name, kinds in CHAPTERS.items())


def _chapter(name: str, kinds: tuple[Kind, ...]) -> str:
    rows = "".join(f"| {kind.name} | {kind.outcome} |\n" for kind in kinds)
    return f"\n## {name}\n\n| what is sent | what comes of it |\n|---|---|\n{rows}"


if __name__ == "__main__":
    PAGE.write_text(page())
