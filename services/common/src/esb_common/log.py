"""What our programs say of themselves: one JSON object a line, on standard error.

Functions' own output never passes through here. Callers give facts as keyword arguments and
never a secret, an environment value or a payload.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

LEVELS = ("debug", "info", "warning", "error")


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "program": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Log:
    """A program's voice. ``event`` is a short fixed sentence; facts vary."""

    def __init__(self, program: str) -> None:
        self._logger = logging.getLogger(program)

    def debug(self, event: str, **facts: Any) -> None:
        self._logger.debug(event, extra={"facts": facts})

    def info(self, event: str, **facts: Any) -> None:
        self._logger.info(event, extra={"facts": facts})

    def warning(self, event: str, **facts: Any) -> None:
        self._logger.warning(event, extra={"facts": facts})

    def error(self, event: str, *, trace: bool = False, **facts: Any) -> None:
        self._logger.error(event, exc_info=trace, extra={"facts": facts})


def speak(level: str) -> None:
    """Send all logs to standard error from ``level`` (one of :data:`LEVELS`) up. Once, in ``__main__``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
