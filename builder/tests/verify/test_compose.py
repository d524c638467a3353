"""S22 on the rendered compose configuration: each fact that is missing fails it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from esb_builder.verify import compose

RIGHT: dict[str, Any] = {
    "user": "0:0",
    "cap_drop": ["ALL"],
    "cap_add": ["NET_ADMIN", "DAC_READ_SEARCH"],
    "devices": [{"source": "/dev/net/tun", "target": "/dev/net/tun", "permissions": "rwm"}],
    "volumes": [{"type": "bind", "source": "/k/gateway", "target": "/etc/esb/tunnel", "read_only": True}],
}
Spoil = Callable[[dict[str, Any]], object]


def judged(gateway: dict[str, Any]) -> list[str]:
    return [one.what for one in compose.root_gateway({"services": {"gateway": gateway}})]


def test_the_right_one_holds() -> None:
    assert judged(RIGHT) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda one: one.update(user="10001:10001"), "its user is 10001:10001"),
        (lambda one: one.pop("user"), "its user is not said"),
        (lambda one: one.pop("devices"), "does not get /dev/net/tun"),
        (lambda one: one.update(devices=[{"source": "/dev/kvm"}]), "does not get /dev/net/tun"),
        (lambda one: one["cap_add"].remove("NET_ADMIN"), "may not make a network interface"),
        (lambda one: one.pop("cap_drop"), "every power"),
        (lambda one: one.update(privileged=True), "every power"),
        (lambda one: one["volumes"].clear(), "keys is not mounted"),
        (lambda one: one["volumes"][0].pop("read_only"), "can be written"),
    ],
)
def test_a_missing_fact_fails_it(spoil: Spoil, said: str) -> None:
    gateway = copy.deepcopy(RIGHT)
    spoil(gateway)
    (what,) = judged(gateway)
    assert said in what


def test_without_a_gateway_nothing_holds() -> None:
    assert len(list(compose.root_gateway({"services": {}}))) == 5
