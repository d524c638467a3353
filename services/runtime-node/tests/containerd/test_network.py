"""Workers' network: what the plugins and the firewall are told, and namespaces that stay apart."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import threading
from pathlib import Path

import pytest
from esb_common.log import Log
from esb_node.drivers.containerd.namespaces import make_namespace, remove_namespace
from esb_node.drivers.containerd.network import Addresses, Networks, firewall_rules, plugin_configuration
from esb_node.drivers.containerd.programs import Programs

ENGINE = ("198.18.0.0/24", "198.18.64.0/18")


def test_the_plugin_is_given_a_bridge_with_a_route_out_and_no_masquerading_of_its_own() -> None:
    told = plugin_configuration(Addresses("esb7", "198.18.200.0/24"), Path("/node/cni"))
    assert (told["type"], told["bridge"], told["isGateway"], told["ipMasq"]) == (
        "bridge",
        "esb7",
        True,
        False,
    )
    assert told["ipam"]["ranges"] == [[{"subnet": "198.18.200.0/24"}]]
    assert told["ipam"]["dataDir"] == "/node/cni"


def test_the_default_addresses_clash_with_no_engine_of_ours() -> None:
    ours = ipaddress.ip_network(Addresses().subnet)
    assert ours.subnet_of(ipaddress.ip_network("198.18.0.0/15"))  # type: ignore[arg-type]
    assert not any(ours.overlaps(ipaddress.ip_network(other)) for other in ENGINE)


def test_the_firewall_lets_workers_out_and_only_answers_in() -> None:
    nat, out, back = firewall_rules(Addresses())
    assert nat[:2] == ("nat", "POSTROUTING")
    assert nat[-1] == "MASQUERADE"
    assert out[2:4] == ("-i", "esb0")
    assert "RELATED,ESTABLISHED" in back


def namespaces_of_all_threads() -> set[str]:
    return {str((thread / "ns/net").readlink()) for thread in Path("/proc/self/task").iterdir()}


async def _settled(before: set[str]) -> None:
    """Until the makers have ended; one that lived on in a pool would never let this end."""
    async with asyncio.timeout(5):
        while namespaces_of_all_threads() != before:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.001)


@pytest.mark.root
def test_a_namespace_is_seen_by_no_thread_of_the_node(tmp_path: Path) -> None:
    before = namespaces_of_all_threads()

    async def make_some() -> None:
        pins = [tmp_path / str(number) for number in range(8)]
        await asyncio.gather(*(asyncio.to_thread(os.getpid) for _ in pins))  # a pool of threads to leak into
        listeners = await asyncio.gather(*(make_namespace(pin) for pin in pins))
        await _settled(before)
        assert len({pin.stat().st_ino for pin in pins}) == len(pins)
        for pin, listener in zip(pins, listeners, strict=True):
            listener.close()
            remove_namespace(pin)

    asyncio.run(make_some())
    assert namespaces_of_all_threads() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "esb-namespace"]


@pytest.mark.root
def test_the_socket_listens_inside_the_namespace_alone(tmp_path: Path) -> None:
    async def make_two() -> None:
        first, second = [await make_namespace(tmp_path / name) for name in ("a", "b")]
        assert first.getsockname() == second.getsockname() == ("127.0.0.1", 9001)
        await _reach_from(tmp_path / "a", 9001)
        connection, _ = await asyncio.get_running_loop().sock_accept(first)
        connection.close()
        for listener, name in ((first, "a"), (second, "b")):
            listener.close()
            remove_namespace(tmp_path / name)

    asyncio.run(asyncio.wait_for(make_two(), 10))


async def _reach_from(pin: Path, port: int) -> None:
    def reach() -> None:
        import socket

        with open(pin) as namespace:
            os.setns(namespace.fileno(), os.CLONE_NEWNET)
        socket.create_connection(("127.0.0.1", port), timeout=5).close()

    thread = threading.Thread(target=reach)
    thread.start()
    await asyncio.to_thread(thread.join)


def test_pins_of_another_life_are_forgotten_without_asking_a_plugin(tmp_path: Path) -> None:
    nowhere = Programs(*[Path("/nowhere")] * 4)
    networks = Networks(tmp_path, nowhere, Addresses(), 0, Log("test"))
    (tmp_path / "netns").mkdir()
    (tmp_path / "netns/n-1").touch()
    (tmp_path / "cni/esb").mkdir(parents=True)
    asyncio.run(networks.sweep())
    assert not list((tmp_path / "netns").iterdir())
    assert not (tmp_path / "cni").exists()


@pytest.mark.root
def test_removing_a_namespace_that_a_reboot_took_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "pin").touch()
    remove_namespace(tmp_path / "pin")
    remove_namespace(tmp_path / "pin")
    assert not list(tmp_path.iterdir())
