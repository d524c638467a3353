"""The ``.env`` of the checkout, so that plain ``docker compose`` builds and runs the same box.

We own only the names that we write; a person's own lines, comments and order stay.
https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]*\Z")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")


def merge(content: str, values: Mapping[str, str]) -> str:
    """``content`` with ``values`` set: each where its name first stood, new ones at the end."""
    left = dict(values)
    lines = []
    for line in content.splitlines():
        match = _ASSIGNMENT.match(line)
        name = match.group(1) if match else None
        if name not in values:
            lines.append(line)
        elif name in left:
            lines.append(f"{name}={quote(left.pop(name))}")
    lines += [f"{name}={quote(value)}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def quote(value: str) -> str:
    """The value as compose reads it back: literally, without interpolation."""
    return value if _PLAIN.match(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
