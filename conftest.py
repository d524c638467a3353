"""What every test may ask: whether this run takes its time."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long forms: 10,000 generated requests")
