"""Prometheus' page: counted right, bounded, and nothing in it but counts."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import pytest
from esb_gateway.core.metrics import BOUNDS_S, Metrics
from hypothesis import given
from hypothesis import strategies as st


def series(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@given(st.lists(st.floats(0, 100), max_size=50))
def test_every_duration_is_in_all_the_buckets_above_it(durations: list[float]) -> None:
    metrics = Metrics()
    for seconds in durations:
        metrics.took("run", seconds)
    shown = series(metrics.text({}))
    for bound in BOUNDS_S:
        bucket = f'esb_phase_seconds_bucket{{phase="run",le="{bound}"}}'
        assert shown[bucket] == sum(seconds <= bound for seconds in durations)
    assert shown['esb_phase_seconds_bucket{phase="run",le="+Inf"}'] == len(durations)
    assert shown['esb_phase_seconds_count{phase="run"}'] == len(durations)
    assert shown['esb_phase_seconds_sum{phase="run"}'] == pytest.approx(sum(durations), abs=1e-5)


def page(box: Any, path: str = "/metrics", method: str = "GET") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{box.ports[-1]}{path}", method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def test_invocations_show_and_a_deleted_function_does_not(make_box: Any) -> None:
    box = make_box(ESB_METRICS_PORT="0")
    box.create(Environment={"Variables": {"SECRET": "hunter2"}})
    box.create("bad", handler="app.raises")
    for name in ("f", "f", "bad"):
        box.client().invoke(FunctionName=name, Payload=b"1")
    shown = series(page(box))
    assert shown['esb_invocations_total{function="f",outcome="Returned"}'] == 2
    assert shown['esb_invocations_total{function="bad",outcome="FunctionFailed"}'] == 1
    counts = {
        phase: shown[f'esb_phase_seconds_count{{phase="{phase}"}}']
        for phase in ("queue", "start", "init", "run")
    }
    assert counts == {"queue": 3, "start": 2, "init": 2, "run": 3}
    assert (shown["esb_ready"], shown["esb_functions"], shown["esb_workers"]) == (1, 2, 2)
    assert "hunter2" not in page(box)
    box.client().delete_function(FunctionName="f")
    assert 'function="f"' not in page(box)


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/metrics", "POST", 405), ("/_esb/status", "GET", 404)]
)
def test_there_is_nothing_else_on_that_port(make_box: Any, path: str, method: str, status: int) -> None:
    box = make_box(ESB_METRICS_PORT="0")
    with pytest.raises(urllib.error.HTTPError) as caught:
        page(box, path, method)
    assert caught.value.code == status
