"""Counts and durations of invocations, in the text that Prometheus reads. Pure; a clock's readings come in.

Durations are histograms with fixed bounds, so that scrapes of several boxes can be added up. Phases:

    queue     from the call's arrival to a worker's hands
    start     from our order to the node's Started
    init      from Started to the worker's first poll
    run       from hand-over to the worker's answer

Cost: about a microsecond an invocation. Labels are function names and outcomes, never a payload or a value.
https://github.com/prometheus/docs/blob/main/content/docs/instrumenting/exposition_formats.md
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PHASES = ("queue", "start", "init", "run")


class Histogram:
    """How many durations fell below each of :data:`BOUNDS_S`, and their sum."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The series of one histogram."""
        below = 0
        for bound, count in zip((*BOUNDS_S, "+Inf"), self._counts, strict=True):
            below += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {below}'
        yield f"{name}_sum{{{labels}}} {self._sum:.6f}"
        yield f"{name}_count{{{labels}}} {below}"


class Metrics:
    """Everything since the start of this gateway."""

    def __init__(self) -> None:
        self._phases = {phase: Histogram() for phase in PHASES}
        self._invocations: Counter[tuple[str, str]] = Counter()

    def took(self, phase: str, seconds: float) -> None:
        """Count the duration of one phase."""
        self._phases[phase].add(seconds)

    def answered(self, function: str, outcome: str) -> None:
        """Count an invocation's end."""
        self._invocations[function, outcome] += 1

    def forget(self, function: str) -> None:
        """Drop the series of a function that was deleted: names come and go, memory must not."""
        for key in [key for key in self._invocations if key[0] == function]:
            del self._invocations[key]

    def text(self, gauges: Mapping[str, float]) -> str:
        """The page; ``gauges`` are present values by name."""
        lines = [
            "# HELP esb_invocations_total Invocations answered, by function and outcome.",
            "# TYPE esb_invocations_total counter",
        ]
        lines += [
            f'esb_invocations_total{{function="{function}",outcome="{outcome}"}} {count}'
            for (function, outcome), count in sorted(self._invocations.items())
        ]
        lines += [
            "# HELP esb_phase_seconds Where the time of invocations went.",
            "# TYPE esb_phase_seconds histogram",
        ]
        for phase, histogram in self._phases.items():
            lines += histogram.lines("esb_phase_seconds", f'phase="{phase}"')
        for name, value in gauges.items():
            lines += [f"# TYPE esb_{name} gauge", f"esb_{name} {value:g}"]
        return "\n".join(lines) + "\n"
