import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.box import ROOT, Box, zipped

HOME = Path(os.environ.get("ESB_HOME", ROOT / ".esb/home"))
"""The tests' own home: the images are built once for its certificate authority."""


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("embedded", marks=pytest.mark.root),
        pytest.param("containerd", marks=pytest.mark.engine),
    ],
)
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    mode: str = request.param
    one = Box(mode, HOME if mode == "containerd" else tmp_path_factory.mktemp("home"))
    one.remove()
    one.esb("up")
    yield one
    one.remove()


@pytest.fixture(scope="session")
def aws(box: Box) -> Any:
    return box.client()


class Functions:
    """Functions of one test, deleted at its end."""

    def __init__(self, aws: Any, prefix: str) -> None:
        self.aws = aws
        self.prefix = prefix
        self.names: list[str] = []

    def create(self, code: str, *, handler: str = "app.handler", **settings: Any) -> str:
        name = f"{self.prefix}-{len(self.names)}"
        self.aws.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role="arn:aws:iam::000000000000:role/lambda",
            Handler=handler,
            Code={"ZipFile": zipped(app=code)},
            **settings,
        )
        self.names.append(name)
        return name


@pytest.fixture
def functions(aws: Any, request: pytest.FixtureRequest) -> Iterator[Functions]:
    made = Functions(aws, f"t{abs(hash(request.node.nodeid)) % 10**8}")
    yield made
    for name in made.names:
        aws.delete_function(FunctionName=name)
