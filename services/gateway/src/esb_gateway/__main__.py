"""``python -m esb_gateway``: settings, TLS, signals; exit code 0 after SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from esb_common.errors import EsbError
from esb_common.log import Log, speak

from esb_gateway.app import Gateway
from esb_gateway.hands.tls import server_context
from esb_gateway.settings import Settings


def main() -> int:
    """Run the gateway; the exit code."""
    try:
        memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        settings = Settings.read(os.environ, memory_mib)
        speak(settings.log_level)
        asyncio.run(_serve(settings, Log("gateway")))
    except EsbError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def _serve(settings: Settings, log: Log) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    gateway = Gateway(settings, server_context(settings.cert_dir), log)
    try:
        await gateway.run(stopped, lambda host, port: log.info("listening", address=host, port=port))
    except* EsbError as group:
        raise group.exceptions[0] from None


if __name__ == "__main__":
    sys.exit(main())
