"""``python -m esb_node``: read the settings once, serve until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from esb_common.errors import EsbError
from esb_common.log import speak

from esb_node.app import choose_driver, serve
from esb_node.settings import NodeSettings, node_settings


async def _serve(settings: NodeSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, choose_driver(settings), stop)


def main() -> int:
    """The exit code; an error that a person can act on is one line of fact and one of hint."""
    try:
        # Workers, who are another user, must be able to read what we unpack, whoever started us.
        os.umask(0o022)
        settings = node_settings(os.environ, os.geteuid(), os.getegid())
        speak(settings.log_level)
        asyncio.run(_serve(settings))
    except EsbError as error:
        print(f"esb-node: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
