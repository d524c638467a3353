"""One kind of bad input: what is sent, and the answer that it must get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hostile.caller import Caller

Send = Callable[[Caller], Any]
"""Sends it and returns the outcome: a :class:`Reply`, or a text."""


@dataclass(frozen=True, slots=True)
class Kind:
    """``slow`` ones wait for one of the box's time limits; they run beside one another."""

    name: str
    outcome: str
    send: Send
    slow: bool = False


def told(kind: Kind, caller: Caller) -> str:
    """What came of it."""
    came = kind.send(caller)
    return came if isinstance(came, str) else str(came.outcome)
