import re
from pathlib import Path
from typing import get_args

import pytest
from esb_common import ids, wire
from hypothesis import given
from hypothesis import strategies as st

CONTRACT = (Path(__file__).parents[3] / "contracts/node.md").read_text()
WORKER = ids.worker_id("w-0123456789abcdef")
MESSAGES: list[wire.Message] = [
    wire.Hello(gateway="g"),
    wire.Start(worker=WORKER, function=ids.digest_of(b"f")),
    wire.Stop(worker=WORKER),
    wire.ListWorkers(),
    wire.Welcome(node="n", driver="process", isolation="namespaces", network="loopback", limits=True),
    wire.Started(worker=WORKER, place="42", phases_ms={"fork": 1.5}),
    wire.Refused(worker=WORKER, error="NoRoom", message="no memory"),
    wire.Exited(worker=WORKER, code=None, signal=9, out_of_memory=True),
    wire.Workers(workers=[]),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


def test_every_message_is_tried_above() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(wire.Message))


@pytest.mark.parametrize("kind", get_args(wire.Message), ids=lambda kind: kind.__name__)
def test_the_contract_lists_each_message_with_its_members(kind: type[wire.Message]) -> None:
    row = re.search(rf"^\| (?:gateway|node) \| `{kind.__name__}` \| (.*?) \|", CONTRACT, re.MULTILINE)
    assert row, f"{kind.__name__} is not in contracts/node.md"
    assert set(re.findall(r"`(\w+)`", row[1])) == set(kind.__dataclass_fields__)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type": "Nonsense"}',
        b'{"type": ["Stop"]}',
        b'{"type": "Stop"}',
        b'{"type": "Stop", "worker": "../../etc"}',
        b'{"type": "Stop", "worker": 5}',
        b'{"type": "Stop", "worker": "w-0123456789abcdef", "path": "/"}',
        b'{"type": "Start", "worker": "w-0123456789abcdef", "function": "hello"}',
        b"\xff\xfe",
        b"[" * wire.MAX_PACKET,
    ],
)
def test_a_packet_that_is_no_message_is_a_wire_error(packet: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(packet)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_wire(packet: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(packet)


def test_a_message_too_long_for_a_packet_is_refused_by_its_sender() -> None:
    with pytest.raises(wire.WireError, match="too long"):
        wire.encode(wire.Refused(worker=WORKER, error="StartFailed", message="x" * wire.MAX_PACKET))
