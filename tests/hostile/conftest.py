from collections.abc import Iterator
from typing import Any

import pytest
from e2e.box import Box
from e2e.conftest import box
from hostile.caller import Caller

__all__ = ["box"]


@pytest.fixture(scope="session")
def caller(box: Box) -> Iterator[Caller]:
    made: Any = box.json("api-key", "add", "hostile")
    one = Caller(box, made["key"])
    # The gateway takes a changed file over within a second; every turn is a whole call.
    refused = iter(lambda: one.keyed("Host: localhost", "Content-Length: 2", body=b"{}").status, 200)
    assert set(refused) <= {403}
    yield one
    box.esb("api-key", "remove", "hostile")
