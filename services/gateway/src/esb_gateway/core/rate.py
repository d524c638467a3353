"""A token bucket: ``per_s`` calls a second in the long run, ``burst`` of them at once."""

from __future__ import annotations


class Bucket:
    """Full at first. Times are seconds of a clock that never goes back."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, per_s: int, burst: int, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether a call may go on; if so, it is counted."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
