"""The fetching itself: a bounded number of downloads at once, and one account of what became of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from esb_common.errors import BadInput, Broken, EsbError, NotPossibleHere, Unhealthy

from esb_builder.fetch.needs import PYTHON, Finder, Need
from esb_builder.lock import interpreter
from esb_builder.sources import http
from esb_builder.sources.http import Location, Web
from esb_builder.store import Corrupt, NoRoom, Store
from esb_builder.voice import Voice

AT_ONCE = 6
_EVERY_S = 2.0
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a run did. ``unaddressed`` are files of a named mirror that has no address here; ``moved_on``
    are proofs (signed indexes) that the archive has replaced since: no build needs them.
    """

    files: int
    bytes: int
    present: int
    seconds: float
    unaddressed: tuple[tuple[str, str], ...]
    moved_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    need: Need
    locations: Sequence[Location]


class _Stopped(Exception):
    """Someone else failed for good, or the person pressed Ctrl-C."""


class _Account:
    """Bytes as they come, from all threads; and the word to stop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._bytes = 0

    def add(self, number: int) -> None:
        with self._lock:
            self._bytes += number
        if self.stop.is_set():
            raise _Stopped

    def pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise _Stopped

    @property
    def bytes(self) -> int:
        with self._lock:
            return self._bytes


def fetch(finder: Finder, voice: Voice, at_once: int = AT_ONCE) -> Fetched:
    """Bring everything that the lock names and the store lacks.

    NoRoom ends it at once. Other failures are collected: BadInput where a file is gone or has other bytes,
    Unhealthy where a source does not answer. What came stays.
    """
    began = time.monotonic()
    lacking = finder.lacking()
    jobs, unaddressed, failures = _prepared(finder, lacking, voice)
    account = _Account(sum(job.need.blob.size for job in jobs))
    moved_on: list[str] = []
    if jobs:
        with voice.step(f"fetch {len(jobs)} files, {_mb(account.total)} MB"):
            for need, error in _all(jobs, finder, account, voice, at_once):
                if need.proof and isinstance(error, http.Gone | Corrupt):
                    moved_on.append(need.name)
                else:
                    failures.append((need, error))
    if failures:
        raise _told(failures, len(lacking))
    distinct = {blob for _, blob in finder.lock.blobs()}
    present = sum(finder.store.has(blob) for blob in distinct) - sum(not job.need.proof for job in jobs)
    return Fetched(
        files=len(jobs) - len(moved_on),
        bytes=account.bytes,
        present=present,
        seconds=round(time.monotonic() - began, 3),
        unaddressed=tuple((need.name, need.mirror or "") for need in unaddressed),
        moved_on=tuple(moved_on),
    )


def _prepared(
    finder: Finder, lacking: Sequence[Need], voice: Voice
) -> tuple[list[_Job], list[Need], list[tuple[Need, EsbError]]]:
    """What can be fetched from where; what has no address; what cannot be had."""
    jobs: list[_Job] = []
    unaddressed: list[Need] = []
    failures: list[tuple[Need, EsbError]] = []
    for need in lacking:
        try:
            locations = need.places()
            if need.name == PYTHON and _packs(finder, need, voice):
                continue
            if locations:
                jobs.append(_Job(need, locations))
            elif need.name == PYTHON:
                failures.append((need, _other_python()))
            elif need.mirror:
                unaddressed.append(need)
            else:
                failures.append((need, http.Gone("the package index has this file no more")))
        except EsbError as error:
            failures.append((need, error))
    return jobs, unaddressed, failures


def _packs(finder: Finder, need: Need, voice: Voice) -> bool:
    """Whether this machine's own CPython is the very build that was locked; then the store has it now."""
    try:
        packed = interpreter.pack(finder.machine, finder.store, voice)
    except NotPossibleHere:
        return False  # a mirror may have it
    return packed.blob == need.blob


def _other_python() -> NotPossibleHere:
    return NotPossibleHere(
        "no CPython of this machine is the build that was locked",
        "name a store that has it (ESB_MIRRORS=store=ADDRESS), "
        "or take this machine's: ./esb lock --update python",
    )


def _all(
    jobs: Sequence[_Job], finder: Finder, account: _Account, voice: Voice, at_once: int
) -> list[tuple[Need, EsbError]]:
    """Run all jobs; the failures. Progress is a note every :data:`_EVERY_S` seconds."""
    web = replace(finder.machine.web, pause=account.pause)
    with ThreadPoolExecutor(at_once, "esb-fetch") as pool:
        running = {pool.submit(_one, job, web, finder.store, account): job.need for job in jobs}
        try:
            return _ended(running, account, voice)
        except BaseException:
            account.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _ended(
    running: dict[Future[EsbError | None], Need], account: _Account, voice: Voice
) -> list[tuple[Need, EsbError]]:
    failures = []
    pending, said = set(running), time.monotonic()
    while pending:
        done, pending = wait(pending, timeout=_EVERY_S, return_when=FIRST_COMPLETED)
        for future in done:
            if error := future.result():
                if isinstance(error, NoRoom):
                    raise error
                failures.append((running[future], error))
        if time.monotonic() - said >= _EVERY_S:
            said = time.monotonic()
            voice.note(f"{_mb(account.bytes)} of {_mb(account.total)} MB, {len(pending)} files to go")
    return failures


def _one(job: _Job, web: Web, store: Store, account: _Account) -> EsbError | None:
    try:
        http.obtain(web, job.locations, job.need.blob, store, account.add)
    except EsbError as error:
        return error
    return None


def _told(failures: Sequence[tuple[Need, EsbError]], of: int) -> EsbError:
    """One error for all: what could not be had, and what to do about the first."""
    lines = [f"{need.name} {need.version}: {error.fact}" for need, error in failures[:_SHOWN]]
    if len(failures) > _SHOWN:
        lines.append(f"and {len(failures) - _SHOWN} more")
    need, first = failures[0]
    gone = isinstance(first, http.Gone | Corrupt)
    hint = (
        f"no source has the locked file any more: ./esb lock --update {need.update}" if gone else first.hint
    )
    kind = BadInput if gone else _kind(first)
    head = f"{len(failures)} of {of} files could not be fetched"
    return kind("\n  ".join((head, *lines)), hint or "run ./esb fetch again: what came is kept")


def _kind(error: EsbError) -> type[EsbError]:
    kinds: tuple[type[EsbError], ...] = (Unhealthy, NotPossibleHere, BadInput)
    return next((kind for kind in kinds if isinstance(error, kind)), Broken)


def _mb(number: int) -> str:
    return f"{number / 1e6:.1f}"
