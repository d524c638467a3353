"""The name servers that workers are given. Pure.

A worker has a network namespace of its own, so a name server on the node's loopback (systemd-resolved's stub,
Docker's embedded one) is not there for it. Then the servers behind that one are given instead.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

_BEHIND_DOCKER = re.compile(r"^# ExtServers: \[(?P<servers>.*)\]$", re.MULTILINE)
"""How Docker's resolv.conf names the servers that its embedded one asks."""
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{3,}")


def worker_resolver(own: str, behind: str) -> tuple[str, Sequence[str]]:
    """The ``resolv.conf`` for workers and the name servers in it: none, where no usable one is known.

    ``own`` is the node's resolv.conf; ``behind`` is what systemd-resolved itself asks (the same format), or
    empty.
    """
    for text in (own, behind):
        servers = [server for server in _servers(text) if not _loopback(server)]
        if servers:
            return text, servers
    found = _BEHIND_DOCKER.search(own)
    servers = [one for one in _ADDRESS.findall(found["servers"]) if not _loopback(one)] if found else []
    options = [line for line in own.splitlines() if line.startswith(("search ", "options "))]
    return "".join(f"{line}\n" for line in [*(f"nameserver {one}" for one in servers), *options]), servers


def _servers(text: str) -> list[str]:
    words = [line.split() for line in text.splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _loopback(server: str) -> bool:
    """Also true of what is no address: nobody could ask it."""
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True
