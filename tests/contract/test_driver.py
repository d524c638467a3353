"""What every driver promises: a worker starts, serves, is watched, ends, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from contract.conftest import OWN_WORKERS, Guest, Stage, changed
from esb_node.core.environment import worker_environment
from esb_node.core.ports import Exit, StartRefused

ROUNDS = 20


def test_a_started_worker_asks_for_an_event_and_answers_it(stage: Stage) -> None:
    async def play(guest: Guest) -> None:
        assert (await guest.api.invoke({"a": [1, "ü"]})).value == {"a": [1, "ü"]}
        assert (await guest.api.invoke("again")).value == "again"

    stage.with_guest("memory.echo", play)


def test_a_megabyte_goes_both_ways(stage: Stage) -> None:
    async def play(guest: Guest) -> None:
        assert (await guest.api.invoke("x" * (1 << 20))).value == "x" * (1 << 20)

    stage.with_guest("memory.echo", play)


def test_a_start_says_where_the_worker_is_and_where_the_time_went(stage: Stage) -> None:
    async def play(guest: Guest) -> None:
        assert guest.running.place
        assert all(value >= 0 for value in guest.running.phases_ms.values())

    stage.with_guest("memory.echo", play)


def test_output_is_readable_when_the_response_has_come(stage: Stage) -> None:
    async def play(guest: Guest) -> None:
        for number in range(20):
            await guest.api.invoke({"line": f"line {number}"})
            assert guest.output() == f"line {number}\n".encode()

    stage.with_guest("memory.say", play)


def test_reading_output_never_waits(stage: Stage) -> None:
    async def play(guest: Guest) -> None:
        with pytest.raises(BlockingIOError):
            os.read(guest.running.output, 1)

    stage.with_guest("memory.echo", play)


def test_an_error_of_the_function_is_posted_and_the_worker_lives(stage: Stage) -> None:
    async def play(guest: Guest) -> None:
        answer = await guest.api.invoke("broken")
        assert answer.kind == "error"
        assert answer.value["errorType"] == "Exception"
        assert (await guest.api.invoke("again")).kind == "error"

    stage.with_guest("memory.fail", play)


def test_a_function_that_cannot_be_loaded_says_so_and_ends_with_1(stage: Stage) -> None:
    async def play() -> None:
        guest = await stage.started(stage.plan("memory.unloadable"))
        async with guest.api:
            error = await asyncio.wait_for(guest.api.init_error, 20)
            assert error.value["errorType"].startswith("Runtime.")
            assert await guest.exit() == Exit(1, None)
            await guest.leave()

    stage.run(play())


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_an_exit_tells_its_code(stage: Stage, code: int) -> None:
    async def play(guest: Guest) -> None:
        guest.api.offer({"code": code})
        assert await guest.exit() == Exit(code, None)

    stage.with_guest("memory.exit", play)


def test_a_crash_tells_its_signal(stage: Stage) -> None:
    async def play(guest: Guest) -> None:
        guest.api.offer("now")
        assert await guest.exit() == Exit(None, signal.SIGSEGV)

    stage.with_guest("memory.crash", play)


def test_a_worker_out_of_memory_is_told_from_a_killed_one(stage: Stage) -> None:
    if stage.subject.real and not stage.subject.limits:
        pytest.skip("no cgroup can be made here")

    async def play(guest: Guest) -> None:
        guest.api.offer("now")
        assert await guest.exit() == Exit(None, signal.SIGKILL, out_of_memory=True)

    stage.with_guest("memory.exhaust", play)


@pytest.mark.parametrize("handler", ["memory.echo", "memory.hang"])
def test_a_stop_is_prompt_and_tells_the_signal(stage: Stage, handler: str) -> None:
    async def play(guest: Guest) -> None:
        guest.api.offer("event")
        async with asyncio.timeout(2):
            guest.running.stop()
            ended = await guest.running.wait()
        assert ended == Exit(None, signal.SIGKILL)
        guest.running.stop()  # harmless

    stage.with_guest(handler, play)


def test_a_stop_does_not_wait_for_a_worker_that_never_gets_ready(stage: Stage) -> None:
    async def play() -> None:
        guest = await stage.started(stage.plan("memory.late"))
        async with guest.api:
            assert await asyncio.wait_for(guest.leave(), 5) == Exit(None, signal.SIGKILL)
            assert not guest.api.asked.is_set()

    stage.run(play())


def test_many_workers_live_beside_one_another(stage: Stage) -> None:
    async def play() -> None:
        guests = await asyncio.gather(*(stage.started(stage.plan("memory.echo")) for _ in range(5)))
        for number, guest in enumerate(guests):
            assert (await guest.api.invoke(number)).value == number
        assert len({guest.running.place for guest in guests}) == len(guests)
        for guest in guests:
            await guest.leave()
            await guest.api.__aexit__()

    stage.run(play())


def test_a_cancelled_start_leaves_nothing(stage: Stage) -> None:
    async def play() -> None:
        traces = await _traces_of_rounds(stage, 1)
        for steps in range(12):
            starting = asyncio.ensure_future(stage.driver.start(stage.plan("memory.echo")))
            await _turns(steps)
            starting.cancel()
            try:
                running = await starting
            except asyncio.CancelledError:
                continue
            running.stop()
            await running.wait()
            for descriptor in (running.listener.detach(), running.output, running.peak_memory):
                if descriptor is not None:
                    os.close(descriptor)
        assert await _settled(stage) == traces

    stage.run(play())


async def _turns(count: int) -> None:
    """Let the loop go round, each time for at least one event, so that starts are cut in different places."""
    for _ in range(count):
        ready = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.001, ready.set_result, None)
        await ready


def test_a_refused_start_says_why_and_leaves_nothing(real: Stage) -> None:
    if real.subject.name == "containerd":
        pytest.skip("its program is in the image")

    async def play() -> None:
        traces = await _traces_of_rounds(real, 1)
        with pytest.raises(StartRefused, match=r"StartFailed: .*No such file") as refused:
            await real.driver.start(changed(real.plan("memory.echo"), arguments=("/var/lang/bin/nothing",)))
        assert refused.value.error == "StartFailed"
        assert await _settled(real) == traces

    real.run(play())


def test_starts_and_stops_leak_nothing(stage: Stage) -> None:
    async def play() -> None:
        before = await _traces_of_rounds(stage, 2)
        assert await _traces_of_rounds(stage, ROUNDS) == before

    stage.run(play())


async def _traces_of_rounds(stage: Stage, rounds: int) -> dict[str, object]:
    for _ in range(rounds):
        guest = await stage.started(stage.plan("memory.echo"))
        async with guest.api:
            await guest.api.ready()
            await guest.leave()
    return await _settled(stage)


async def _settled(stage: Stage) -> dict[str, object]:
    """The traces once they stay the same: connections close late, and drivers refill what they keep ready."""
    async with asyncio.timeout(30):
        seen, times = _traces(stage), 0
        while times < 10:
            await _turns(50)
            now = _traces(stage)
            seen, times = now, times + 1 if now == seen else 0
    return seen


def _traces(stage: Stage) -> dict[str, object]:
    """What a start could leave behind on this machine."""
    folder = stage.ground.folder / "workers"
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "mounts": Path("/proc/self/mountinfo").read_text().count(str(stage.ground.folder)),
        "processes": len(_descendants()),
        "folders": sorted(folder.iterdir()) if folder.exists() else [],
        "cgroups": sorted(Path("/sys/fs/cgroup").glob(f"*/esb/*/{OWN_WORKERS}*"))
        if stage.subject.limits
        else [],
    }


def _descendants() -> set[int]:
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, more = set[int](), {os.getpid()}
    while more:
        more = {child for child, parent in parents.items() if parent in more} - found
        found |= more
    return found


def test_the_environment_is_awss_and_nothing_of_the_nodes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESB_OF_THE_NODE", "secret")

    async def play(guest: Guest) -> None:
        seen = (await guest.api.invoke(None)).value
        expected = worker_environment(guest.plan.function, guest.plan.worker, "1970/01/01")
        assert seen.get("GREETING") == "hello"
        assert {name: seen[name] for name in expected if name in _WORKER_SEES} == {
            name: value for name, value in expected.items() if name in _WORKER_SEES
        }
        # What the interpreter, AWS's client and runc set themselves, and TMPDIR where /tmp is everybody's.
        assert set(seen) - set(expected) <= {"LC_CTYPE", "_X_AMZN_TRACE_ID", "HOME", "TMPDIR"}
        assert "secret" not in seen.values()

    stage.with_guest("memory.environment", play, GREETING="hello", _HANDLER="evil", AWS_ACCESS_KEY_ID="evil")


_WORKER_SEES = (
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_REGION",
    "LANG",
    "TZ",
    "_HANDLER",
)


def test_a_driver_says_whether_it_limits(stage: Stage) -> None:
    assert stage.driver.limits == stage.subject.limits


def test_peak_memory_is_told(limited: Stage) -> None:
    async def play(guest: Guest) -> None:
        assert guest.running.peak_memory is not None
        peak = int(os.pread(guest.running.peak_memory, 64, 0))
        await guest.api.invoke("len(b'x' * (40 << 20))")
        assert int(os.pread(guest.running.peak_memory, 64, 0)) > peak + (30 << 20)

    limited.with_guest("memory.evaluate", play)
