"""The house rules of HACKING.md, as checks: what may import, start, catch, wait and be named."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

MAX_LINES = 800
LONG_FUNCTION = 35
STARTS_PROCESSES = {
    "builder/src/esb_builder/run.py",
    "cli/src/esb_cli/box/supervisor.py",
    "services/runtime-node/src/esb_node/hands/run.py",
    "services/runtime-node/src/esb_node/drivers/process/spawner.py",
    "services/runtime-node/src/esb_node/sandbox.py",
}
IMPURE = {
    "http",
    "multiprocessing",
    "os",
    "select",
    "uuid",
    "socket",
    "subprocess",
    "asyncio",
    "sqlite3",
    "random",
    "secrets",
    "time",
    "threading",
    "shutil",
    "ssl",
}
VAGUE = re.compile(r"(manager|helper|util|utils|misc|base_?class)s?(_|\.|$)", re.IGNORECASE)


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run([*command, "--", *patterns], capture_output=True, text=True, check=True).stdout
    return [path for name in out.split("\0") if name and (path := ROOT / name).is_file()]


def ours() -> list[Path]:
    return [path for path in tracked("*.py") if not path.stem.endswith("_pb2")]


def product() -> list[Path]:
    return [path for path in ours() if "src" in path.relative_to(ROOT).parts]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def imports(tree: ast.AST) -> set[str]:
    """The top-level modules that are imported, in whatever way."""
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | parts}


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_house_to_judge() -> None:
    assert len(product()) > 30


def test_ruff_has_nothing_to_say() -> None:
    run(str(BIN / "ruff"), "check", "--no-cache", ".")


def test_the_format_is_ruffs() -> None:
    run(str(BIN / "ruff"), "format", "--no-cache", "--check", ".")


def test_mypy_strict_has_nothing_to_say() -> None:
    run(str(BIN / "mypy"), *sorted({name_of(path) for path in ours() if "examples" not in path.parts}))


def test_programs_import_one_way() -> None:
    paths = [
        ROOT / name
        for name in ("services/common", "services/gateway", "services/runtime-node", "builder", "cli")
    ]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(str(path / "src") for path in paths)}
    command = [str(BIN / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", ours(), ids=name_of)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_functions_are_short() -> None:
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in product()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[int(len(lengths) * 0.9)] < LONG_FUNCTION


STARTING = re.compile(r"(os\.(fork|exec|spawn|posix_spawn|system|popen)|asyncio\.create_subprocess|pty\.)")


@pytest.mark.parametrize("path", product(), ids=name_of)
def test_processes_start_in_few_named_files(path: Path) -> None:
    if name_of(path) in STARTS_PROCESSES:
        return
    tree = ast.parse(path.read_text())
    assert not {"subprocess", "multiprocessing", "pty"} & imports(tree)
    assert not [call for call in calls(tree) if STARTING.match(call)]


@pytest.mark.parametrize("path", [path for path in product() if "core" in path.parts], ids=name_of)
def test_core_does_no_io(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = imports(tree)
    allowed = {"socket"} if path.name == "ports.py" else set()
    assert not (imported & IMPURE) - allowed
    assert not {"open", "print", "input"} & set(calls(tree))


@pytest.mark.parametrize("path", product(), ids=name_of)
def test_nothing_is_named_vaguely(path: Path) -> None:
    names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    assert not [name for name in [path.stem, *names] if VAGUE.search(name)]


@pytest.mark.parametrize("path", product(), ids=name_of)
def test_every_module_tells_its_idea(path: Path) -> None:
    if path.name == "__init__.py" and not path.read_text().strip():
        return
    assert ast.get_docstring(ast.parse(path.read_text()))


def catches_everything(node: ast.AST) -> bool:
    """``except Exception`` in any spelling that does not pass it on, or ``suppress(Exception)``."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).endswith("suppress") and bool(
            {"Exception", "BaseException"} & {ast.unparse(argument) for argument in node.args}
        )
    if not isinstance(node, ast.ExceptHandler):
        return False
    last = node.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
    return not kinds or bool({"Exception", "BaseException"} & {ast.unparse(kind) for kind in kinds})


def test_everything_is_caught_only_at_a_door() -> None:
    catching = [
        name_of(path)
        for path in product()
        for node in ast.walk(ast.parse(path.read_text()))
        if catches_everything(node)
    ]
    doors = [name for name in catching if "/doors/" in name or name.endswith("/app.py")]
    assert sorted(catching) == sorted(doors), "an `except Exception` outside a door"
    assert len(catching) == len(set(catching)), "more than one in a file"


TESTS = [path for path in ours() if "tests" in path.parts and "bench" not in path.parts]


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_do_not_sleep(path: Path) -> None:
    # asyncio.sleep polls, under a timeout, what sends no event.
    assert "time.sleep" not in set(calls(ast.parse(path.read_text())))


def hosts() -> set[str]:
    """Registry hosts, read off this machine's own configuration, never written down here."""
    found: set[str] = set()
    for name in ("/etc/apt/sources.list", *map(str, Path("/etc/apt/sources.list.d").glob("*"))):
        if Path(name).is_file():
            found |= set(re.findall(r"https?://([^/\s]+)", Path(name).read_text(errors="replace")))
    default = subprocess.run(
        [
            "python3",
            "-c",
            "from pip._internal.models.index import PyPI as p; print(p.url, p.file_storage_domain)",
        ],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return found | {urlsplit(text).netloc or text for text in default}


def test_no_registry_is_named_in_the_tree() -> None:
    texts = {name_of(path): path.read_bytes().decode(errors="replace") for path in tracked()}
    named = hosts()
    assert named, "this machine's own configuration names no registry: nothing would be found"
    found = [(name, host) for name, text in texts.items() for host in named if host in text]
    assert not found
    assert not [
        name
        for name, text in texts.items()
        if str(ROOT) in text or str(Path.home() / ".") + "/.pyenv" in text
    ]


@pytest.mark.parametrize("path", [path for path in tracked("*.lock") if path.name != "esb.lock"], ids=name_of)
def test_every_lock_pins_by_hash(path: Path) -> None:
    logical = path.read_text().replace("\\\n", " ").splitlines()
    pins = [line for line in logical if line.strip() and not line.lstrip().startswith(("#", "--only-binary"))]
    assert pins
    assert all(re.match(r"[\w.\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin) for pin in pins)
    wanted = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", "\n".join(pins), re.MULTILINE))
    assert {name: version for name, version in locked.items() if wanted.get(name, version) != version} == {}
