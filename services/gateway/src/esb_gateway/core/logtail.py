"""A function's output as lines, bounded: pure, fed with whatever a read returned."""

from __future__ import annotations

from dataclasses import dataclass, field

LINE_MOST = 256 * 1024
INVOCATION_MOST = 4 * 1024 * 1024
TAIL_BYTES = 4096
"""What LogType=Tail returns (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html)."""


@dataclass(slots=True, eq=False)
class Lines:
    """Cuts bytes into lines, at most :data:`INVOCATION_MOST` bytes of them between two resets."""

    _partial: bytes = b""
    _taken: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their ends."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        lines = [part for line in whole for part in _cut(line)]
        if len(self._partial) > LINE_MOST:
            *full, self._partial = _cut(self._partial)
            lines += full
        return self._within(lines)

    def flush(self) -> list[bytes]:
        """What stands without a line end."""
        partial, self._partial = self._partial, b""
        return self._within(_cut(partial) if partial else [])

    def reset(self) -> None:
        """An invocation begins: it may print as much as any other."""
        self._taken = 0

    def _within(self, lines: list[bytes]) -> list[bytes]:
        if self._taken > INVOCATION_MOST:
            return []
        for number, line in enumerate(lines):
            self._taken += len(line) + 1
            if self._taken > INVOCATION_MOST:
                notice = b"[ESB: output beyond %d bytes of one invocation is dropped]" % INVOCATION_MOST
                return [*lines[:number], notice]
        return lines


def _cut(line: bytes) -> list[bytes]:
    """Lines of at most :data:`LINE_MOST`. AWS's clients put ``\\r`` between the lines of one event."""
    if b"\r" in line:
        return [part for one in line.rstrip(b"\r").split(b"\r") for part in _cut(one)]
    if len(line) <= LINE_MOST:
        return [line]
    return [line[begin : begin + LINE_MOST] for begin in range(0, len(line), LINE_MOST)]


@dataclass(slots=True, eq=False)
class Tail:
    """The last :data:`TAIL_BYTES` of one invocation's log."""

    _bytes: bytearray = field(default_factory=bytearray)

    def add(self, lines: list[bytes]) -> None:
        """Append lines."""
        for line in lines:
            self._bytes += line + b"\n"
        del self._bytes[:-TAIL_BYTES]

    @property
    def content(self) -> bytes:
        """What is kept."""
        return bytes(self._bytes)
