"""The workers' network: a bridge, an address per worker, and a few namespaces that stand ready.

Addresses and links are made by the CNI plugins *bridge* and *host-local*, run as programs
(https://www.cni.dev/docs/spec/). Loopback is ours, since the listening socket needs it first. Two more
things are done once per node instead of once per worker: masquerading (the plugin's own costs four runs of
iptables a worker, 17 ms to add and 50 to remove) and letting the bridge's traffic through a FORWARD chain
that drops by default, as Docker leaves it on a host.

Making a namespace with its link takes about 25 ms, so a pool keeps some ready; it refills one at a time and
not while a start is likely to be under way. A namespace serves one worker and is then taken apart.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb_common.errors import Broken
from esb_common.log import Log

from esb_node.drivers.containerd.namespaces import is_pinned, make_namespace, remove_bridge, remove_namespace
from esb_node.drivers.containerd.programs import Programs
from esb_node.hands.run import run

_CNI_VERSION = "1.0.0"
_QUIET_S = 0.25
"""Refilling waits this long after a take, so that it does not compete with the start it was for."""
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where workers live. 198.18.0.0/15 is set aside for benchmarks (RFC 2544) and routed nowhere, so a piece
    of it clashes with no site's network; ESB's engine uses other pieces."""

    bridge: str = "esb0"
    subnet: str = "198.18.128.0/20"


@dataclass(frozen=True, slots=True)
class Network:
    """One prepared namespace: its name for CNI, its pin, and the socket that listens in it.

    Whoever takes it owns the socket.
    """

    name: str
    pin: Path
    listener: socket.socket


def plugin_configuration(addresses: Addresses, state: Path) -> dict[str, Any]:
    """What the bridge plugin reads on its standard input; ``state`` keeps which addresses are taken."""
    return {
        "cniVersion": _CNI_VERSION,
        "name": "esb",
        "type": "bridge",
        "bridge": addresses.bridge,
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(state),
            "ranges": [[{"subnet": addresses.subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }


def firewall_rules(addresses: Addresses) -> Iterator[tuple[str, ...]]:
    """Table, chain and match of the rules for workers' traffic: out to all, back in as answers only."""
    bridge, subnet = addresses.bridge, addresses.subnet
    yield "nat", "POSTROUTING", "-s", subnet, "!", "-o", bridge, "-j", "MASQUERADE"
    yield "filter", "FORWARD", "-i", bridge, "!", "-o", bridge, "-j", "ACCEPT"
    answers = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
    yield "filter", "FORWARD", "-o", bridge, *answers, "-j", "ACCEPT"


class Networks:
    """The namespaces of one node: some ready, the rest with workers. Every one taken is given back."""

    def __init__(self, folder: Path, programs: Programs, addresses: Addresses, size: int, log: Log) -> None:
        self._pins = folder / "netns"
        self._state = folder / "cni"
        self._programs = programs
        self._addresses = addresses
        self._size = size
        self._log = log
        self._ready: deque[Network] = deque()
        self._short = asyncio.Event()
        self._closing = False
        self._filler: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Clear away an earlier node's namespaces, allow the bridge's traffic and begin to fill the pool."""
        await self.sweep()
        self._pins.mkdir(parents=True, exist_ok=True)
        for rule in firewall_rules(self._addresses):
            await self._iptables("-D", rule, tolerate=True)
            await self._iptables("-I", rule)
        self._short.set()
        self._filler = asyncio.create_task(self._keep_full(), name="networks")

    async def close(self) -> None:
        """Take everything apart: ready namespaces, rules, the bridge."""
        self._closing = True
        self._short.set()
        if self._filler is not None:
            await self._filler
        for network in self._ready:
            network.listener.close()
        await self.sweep()
        for rule in firewall_rules(self._addresses):
            await self._iptables("-D", rule, tolerate=True)
        remove_bridge(self._addresses.bridge)

    async def take(self) -> Network:
        """A namespace for one worker, at once if one is ready; Broken or OSError where none can be made."""
        if not self._ready:
            self._short.set()
            return await self._make()
        network = self._ready.popleft()
        asyncio.get_running_loop().call_later(_QUIET_S, self._short.set)
        return network

    async def give_back(self, network: Network) -> None:
        """Take ``network`` apart; nobody gets it again. Its listener belongs to whoever has it now."""
        await self._take_apart(network.name, network.pin)

    async def sweep(self) -> None:
        """Take apart every namespace that has a pin, and forget all addresses."""
        for pin in sorted(self._pins.glob("*")):
            if is_pinned(pin):
                await self._take_apart(pin.name, pin)
            else:
                remove_namespace(pin)
        shutil.rmtree(self._state, ignore_errors=True)

    async def _keep_full(self) -> None:
        while not self._closing:
            await self._short.wait()
            if len(self._ready) >= self._size:
                self._short.clear()
                continue
            try:
                self._ready.append(await self._make())
            except (Broken, OSError) as error:
                self._log.error("no network namespace could be prepared", fact=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _make(self) -> Network:
        name = f"n-{secrets.token_hex(8)}"
        pin = self._pins / name
        listener = await make_namespace(pin)
        try:
            await self._plugin("ADD", name, pin)
        except (Broken, OSError):
            listener.close()
            await self._take_apart(name, pin)
            raise
        return Network(name, pin, listener)

    async def _take_apart(self, name: str, pin: Path) -> None:
        try:
            await self._plugin("DEL", name, pin)
        except (Broken, OSError) as error:
            # The link goes with the namespace in any case; an address may stay taken until the next sweep.
            self._log.warning("network not removed cleanly", network=name, fact=str(error))
        remove_namespace(pin)

    async def _plugin(self, command: str, name: str, pin: Path) -> None:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": str(pin),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self._programs.plugins),
        }
        configuration = plugin_configuration(self._addresses, self._state)
        feed = json.dumps(configuration).encode()
        await run(str(self._programs.plugins / "bridge"), environment=environment, feed=feed)

    async def _iptables(self, action: str, rule: tuple[str, ...], *, tolerate: bool = False) -> None:
        table, chain, *match = rule
        try:
            await run(str(self._programs.iptables), "-w", "-t", table, action, chain, *match)
        except Broken:
            if not tolerate:
                raise
