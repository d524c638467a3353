"""What an engine leaves on its machine, and how exactly that is taken away again.

Before the first start of a boot, the packet filter, a few kernel settings and the run-time
folders are written down. After the stop everything that came since and is recognisably the
engine's is taken back: rules that name its chains, bridges or addresses, bridges that hold its
addresses, its cgroups, its run-time folders where they are empty. A rule that somebody else
added meanwhile stays. The comparison is pure; :mod:`esb_builder.engine.cleaning` acts.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from esb_builder.engine.place import NETWORKS

Table = Mapping[str, tuple[str, tuple[str, ...]]]
"""Chain name → its policy (``-`` for an engine's or person's own chain) and its rules in order."""

Tables = Mapping[str, Table]


@dataclass(frozen=True, slots=True)
class Before:
    """The machine before our engine first started in this boot."""

    boot: str
    filter_rules: str
    sysctls: Mapping[str, str]
    folders: tuple[str, ...]


def parse_rules(saved: str) -> Tables:
    """The output of ``iptables-save``: table → chain → policy and rules."""
    tables: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {}
    table: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            table[chain] = (policy, ())
        elif line.startswith("-A "):
            chain = line.split()[1]
            policy, rules = table[chain]
            table[chain] = (policy, (*rules, line))
    return tables


def take_back(before: Tables, now: Tables, bridges: Sequence[str]) -> str:
    """Input for ``iptables-restore --noflush`` that removes our part of ``now``; empty if there is none."""
    parts = (_take_back_table(name, before.get(name, {}), table, bridges) for name, table in now.items())
    return "".join(parts)


def emptied_tables(before: Tables, now: Tables) -> list[str]:
    """Tables that came after ``before`` and hold nothing but built-in chains that accept."""
    return [
        name
        for name, table in now.items()
        if name not in before and all(entry == ("ACCEPT", ()) for entry in table.values())
    ]


def our_bridges(addresses: Sequence[Mapping[str, Any]]) -> list[str]:
    """Bridges of ``ip -json -details address`` that hold an address of ours."""
    return [
        link["ifname"]
        for link in addresses
        if link.get("linkinfo", {}).get("info_kind") == "bridge"
        and any(_ours(address.get("local", "")) for address in link.get("addr_info", ()))
    ]


def _take_back_table(name: str, before: Table, now: Table, bridges: Sequence[str]) -> str:
    chains = [chain for chain in now if chain not in before and _is_docker(chain)]
    lines = [
        "-D" + rule[2:]
        for chain, (_, rules) in now.items()
        if chain not in chains
        for rule in rules
        if rule not in before.get(chain, ("", ()))[1] and _is_our_rule(rule, bridges)
    ]
    lines += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
    if name == "filter" and _policy(before, "FORWARD") == "ACCEPT" and _policy(now, "FORWARD") == "DROP":
        lines.append("-P FORWARD ACCEPT")
    return "\n".join((f"*{name}", *lines, "COMMIT", "")) if lines else ""


def _policy(table: Table, chain: str) -> str:
    return table.get(chain, ("ACCEPT", ()))[0]


def _is_docker(chain: str) -> bool:
    return chain == "DOCKER" or chain.startswith("DOCKER-")


def _is_our_rule(rule: str, bridges: Sequence[str]) -> bool:
    words = shlex.split(rule)
    values = dict(pairwise(words))
    return (
        _is_docker(values.get("-j", ""))
        or values.get("-i") in bridges
        or values.get("-o") in bridges
        or _ours(values.get("-s", ""))
        or _ours(values.get("-d", ""))
    )


def _ours(address: str) -> bool:
    """Whether an address, or a network, lies in our ranges."""
    try:
        network = ipaddress.IPv4Network(address, strict=False)
    except ValueError:
        return False
    return any(network.subnet_of(ours) for ours in NETWORKS)
