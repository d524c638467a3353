"""Prometheus' page: ``GET /metrics`` on a port of its own, in plain HTTP, for this machine alone.

It asks for no credentials, because Prometheus cannot sign; so it shows counts, durations and
function names only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from esb_gateway.core.metrics import Metrics
from esb_gateway.doors.http import Exchange, Response, Route, json_response

_TEXT = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)
Gauges = Callable[[], Mapping[str, float]]


class MetricsDoor:
    """``gauges`` gives the present values, by name."""

    def __init__(self, metrics: Metrics, gauges: Gauges) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def route(self, exchange: Exchange) -> Route | Response:
        """Where a request on that port goes."""
        if exchange.target != b"/metrics":
            return json_response(404, {"message": "there is /metrics here and nothing else"})
        if exchange.method not in (b"GET", b"HEAD"):
            return json_response(405, {"message": "only GET is known here"})
        return Route(self._answer)

    def _answer(self, exchange: Exchange) -> None:
        exchange.answer(Response(200, _TEXT, self._metrics.text(self._gauges()).encode()))
