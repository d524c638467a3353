"""Which name servers a worker is given."""

from __future__ import annotations

from esb_node.drivers.containerd.resolver import worker_resolver

STUB = "nameserver 127.0.0.53\noptions edns0\nsearch plant.example\n"
DOCKER = (
    "nameserver 127.0.0.11\nsearch plant.example\noptions ndots:0\n\n"
    "# ExtServers: [host(192.0.2.1) 192.0.2.2]\n"
)
PLAIN = "# of the machine\nnameserver 192.0.2.9\nnameserver 127.0.0.1\n"


def test_a_server_that_others_reach_is_kept_as_it_is_written() -> None:
    assert worker_resolver(PLAIN, "") == (PLAIN, ["192.0.2.9"])


def test_behind_systemds_stub_its_own_servers_are_given() -> None:
    assert worker_resolver(STUB, PLAIN) == (PLAIN, ["192.0.2.9"])


def test_behind_dockers_server_the_ones_it_asks_are_given() -> None:
    text, servers = worker_resolver(DOCKER, "")
    assert servers == ["192.0.2.1", "192.0.2.2"]
    assert text.splitlines() == [
        "nameserver 192.0.2.1",
        "nameserver 192.0.2.2",
        "search plant.example",
        "options ndots:0",
    ]


def test_where_no_server_is_known_none_is_made_up() -> None:
    assert worker_resolver(STUB, "") == ("options edns0\nsearch plant.example\n", [])
    assert worker_resolver("nameserver nonsense\n", STUB)[1] == []
