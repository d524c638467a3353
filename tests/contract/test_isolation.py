"""What a worker of an isolating driver can see and do of the machine: as good as nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from contract.conftest import Guest, Stage


def look(stage: Stage, expression: str) -> Any:
    """The value of a Python expression inside a worker, with ``os`` at hand."""
    found = []

    async def play(guest: Guest) -> None:
        answer = await guest.api.invoke(expression)
        assert answer.kind == "response", answer.content
        found.append(answer.value)

    stage.with_guest("memory.evaluate", play)
    return found[0]


def status(stage: Stage) -> dict[str, str]:
    lines = look(stage, "open('/proc/self/status').read()").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_is_the_sandbox_user_without_any_power(isolated: Stage) -> None:
    seen = status(isolated)
    assert set(seen["Uid"].split()) == {str(isolated.subject.sandbox_uid)}
    assert set(seen["Gid"].split()) == {str(isolated.subject.sandbox_uid)}
    assert {seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert seen["NoNewPrivs"] == "1"
    if os.geteuid() == 0:  # without root the kernel forbids giving groups up (setgroups)
        assert seen["Groups"] == ""


def test_it_holds_no_descriptor_but_its_own_three(real: Stage) -> None:
    numbers = "[n for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')]"
    seen = look(real, f"{{n: os.readlink(f'/proc/self/fd/{{n}}') for n in {numbers}}}")
    assert seen.pop("0") == "/dev/null"
    assert seen.pop("1") == seen.pop("2")
    # The runtime client's own: its connection and what its HTTP library waits with.
    assert [to for to in seen.values() if not to.startswith(("socket:", "anon_inode:", "pipe:"))] == []


def test_its_root_holds_what_is_listed_and_nothing_else(isolated: Stage) -> None:
    if isolated.subject.name == "containerd":
        pytest.skip("its root is the function image's")
    allowed = {
        "bin",
        "sbin",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "usr",
        "etc",
        "dev",
        "proc",
        "tmp",
        "var",
        "opt",
    }
    assert set(look(isolated, "os.listdir('/')")) <= allowed
    assert set(look(isolated, "os.listdir('/var')")) == {"lang", "runtime", "task"}
    assert set(look(isolated, "os.listdir('/dev')")) == {
        "null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr",
    }  # fmt: skip
    assert look(isolated, "os.listdir('/var/lang/lib/python3.12/site-packages')") == []


@pytest.mark.parametrize(
    "place", ["/", "/usr", "/etc", "/var/task", "/var/runtime", "/var/lang", "/opt", "/dev", "/proc"]
)
def test_it_can_write_nowhere_but_in_tmp(isolated: Stage, place: str) -> None:
    attempt = (
        "[os.access('%s', os.W_OK), [l.split()[3] for l in open('/proc/mounts') if l.split()[1] == '%s']]"
    )
    writable, options = look(isolated, attempt % (place, place))
    assert not writable
    if isolated.subject.name != "containerd":
        assert all("ro" in one.split(",") for one in options)


def test_its_tmp_is_its_own_and_writable(real: Stage) -> None:
    wrote = "__import__('tempfile').NamedTemporaryFile(delete=False).write(b'x')"
    assert look(real, wrote) == 1
    assert look(real, "os.listdir(__import__('tempfile').gettempdir())") == []


def test_it_sees_only_its_own_processes(isolated: Stage) -> None:
    assert look(isolated, "[p for p in os.listdir('/proc') if p.isdecimal()]") == ["1"]


_IN_AN_IMAGE = ("/root", "/home", "/sys", "/run/esb", "/etc/shadow")
"""Places that a container has of its own; in /run/esb there is its output and nothing else."""


def test_it_sees_no_file_of_the_host(isolated: Stage) -> None:
    here = str(Path(__file__).resolve())
    for path in (here, "/root", "/home", "/sys", "/run/esb", "/etc/shadow", str(isolated.ground.folder)):
        if isolated.subject.name == "containerd" and path in _IN_AN_IMAGE:
            continue
        assert not look(isolated, f"os.path.exists({path!r})"), path


def test_the_kernels_settings_are_out_of_reach(isolated: Stage) -> None:
    assert not look(isolated, "os.access('/proc/sys/kernel/hostname', os.W_OK)")
    for name in ("kcore", "timer_list"):
        readable = look(
            isolated, f"os.access('/proc/{name}', os.R_OK) and open('/proc/{name}', 'rb').read(1).decode()"
        )
        assert not readable


def test_it_reaches_only_what_its_driver_says(isolated: Stage) -> None:
    interfaces = {
        line.split(":")[0].strip() for line in look(isolated, "open('/proc/net/dev').read()").splitlines()[2:]
    }
    if isolated.driver.network == "loopback":
        assert {
            name for name in interfaces if not name.startswith(("sit", "tunl", "ip6", "gre", "erspan"))
        } == {"lo"}
        assert (
            look(isolated, "__import__('socket').socket().connect_ex(('198.51.100.1', 80))") == 101
        )  # unreachable
    else:
        assert len(interfaces) > 1


def test_what_it_leaves_running_ends_with_it(real: Stage) -> None:
    marker = f"4{os.getpid()}"

    async def play(guest: Guest) -> None:
        start = f"__import__('subprocess').Popen(['sleep', '{marker}'], start_new_session=True).pid > 0"
        assert (await guest.api.invoke(f"[{start}, {start}]")).value == [True, True]
        assert _running(marker) == 2

    real.with_guest("memory.evaluate", play)
    assert _running(marker) == 0


def _running(marker: str) -> int:
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += path.read_bytes() == f"sleep\0{marker}\0".encode()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return count


def test_it_cannot_make_processes_without_end(limited: Stage) -> None:
    thread = "__import__('threading').Thread(target=__import__('time').sleep, args=(30,), daemon=True)"
    spawn = f"[{thread}.start() for _ in range(2000)]"

    async def play(guest: Guest) -> None:
        answer = await guest.api.invoke(spawn)
        assert answer.kind == "error"
        assert "can't start new thread" in answer.value["errorMessage"]

    limited.with_guest("memory.evaluate", play)
