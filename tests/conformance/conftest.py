"""The built family on a real engine, in the tests' own home, whose certificate authority we hold.

Firecracker's files are stand-ins.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stand_ins
from conformance.recording import Recording
from cryptography import x509
from esb_builder import base, build, ca, engine, fetching, plan, run, verify
from esb_builder.archive import Archive
from esb_builder.ca import issue
from esb_builder.voice import Recorded
from esb_common.errors import NotPossibleHere

ROOT = Path(__file__).parents[2]
HOME = Path(os.environ.get("ESB_HOME", ROOT / ".esb/home"))


RECORDING = pytest.StashKey[Recording]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORDING] = Recording()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[RECORDING].plan(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.config.stash[RECORDING].hear(item, report)
    return report


@pytest.fixture(scope="session")
def recording(pytestconfig: pytest.Config) -> Recording:
    """What this session has shown so far."""
    return pytestconfig.stash[RECORDING]


@dataclass(frozen=True)
class Workbench:
    """An engine, the images of this checkout in it, and the authority whose root they carry."""

    engine: engine.Engine
    shop: build.Workshop
    folders: ca.Folders
    ids: Mapping[str, str]

    def docker(self, *args: str | Path) -> run.Completed:
        return self.engine.docker(*args, check=False)

    def run(self, image: str, *args: str, options: tuple[str, ...] = ()) -> run.Completed:
        """Run the first of ``args`` in a throw-away container."""
        return self.docker("run", "--rm", *options, f"--entrypoint={args[0]}", image, *args[1:])

    def leaf(self, place: Path) -> None:
        """Write ``server.crt`` and ``server.key`` for localhost, signed by the baked root."""
        root = x509.load_pem_x509_certificate(self.folders.own_root.read_bytes())
        signer = issue.load_key(self.folders.own_key.read_bytes(), "the root's key")
        key = issue.new_key()
        names = frozenset({"localhost", "127.0.0.1"})
        (place / "server.crt").write_bytes(issue.pem(issue.leaf(key, names, root, signer, datetime.now(UTC))))
        (place / "server.key").write_bytes(issue.key_bytes(key))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, recording: Recording) -> Workbench:
    environ = {**os.environ, "ESB_HOME": str(HOME)}
    voice = Recorded()
    try:
        found = engine.ensure(engine.Place.from_environ(environ), voice)
    except NotPossibleHere as error:
        pytest.skip(error.fact)
    folders = ca.Folders.from_environ(environ)
    ca.init(folders)
    environ["ESB_ARTEFACTS"] = str(stand_ins.write(tmp_path_factory.mktemp("stand-ins")))
    shop = build.Workshop.from_environ(ROOT, found, environ, voice)
    ids = {one.name: one.id for one in build.build(shop, list(plan.FAMILY))}
    recording.home, recording.ids = shop.home, ids
    return Workbench(found, shop, folders, ids)


@pytest.fixture(scope="session")
def verdicts(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> list[verify.Verdict]:
    """Every check on every built image, from one saved archive."""
    path = tmp_path_factory.mktemp("saved") / "family.tar"
    build.save(bench.engine, list(plan.FAMILY.values()), path)
    with Archive(path) as archive:
        family = verify.subjects([archive])
        assert {name: one.image.id for name, one in family.items()} == bench.ids
        found = verify.judge(family, list(family), datetime.now(UTC), verify.Sources.read(ROOT))
    path.unlink()
    return found


Build = Callable[..., run.Completed]


@pytest.fixture(scope="session")
def secrets(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that give a build step what it may fetch with."""
    apt = base.apt_of_machine(bench.shop.environ)
    files = fetching.write(tmp_path_factory.mktemp("secrets"), bench.shop.environ, apt)
    return [f"--secret=id={name},src={path}" for name, path in files.items()]


@pytest.fixture(scope="session")
def build_os_base(bench: Workbench, secrets: list[str]) -> Build:
    """Build os-base from the cached bootstrap, with the secret and argument that a test gives."""
    apt = base.apt_of_machine(bench.shop.environ)
    debian = base.debian(bench.shop.layouts, apt, bench.shop.environ, bench.shop.voice)

    def one(secret: Path | None, sha256: str | None, tag: str | None = None) -> run.Completed:
        words = ["buildx", "build", "--progress=plain", "--provenance=false"]
        words += ["--file=services/common/Dockerfile.os-base", f"--build-context=debian={debian.reference}"]
        words += secrets
        words += [f"--secret=id=esb_root_ca,src={secret}"] if secret else []
        words += [f"--build-arg=ESB_ROOT_CA_SHA256={sha256}"] if sha256 else []
        words += ["--build-arg=SOURCE_DATE_EPOCH=1735689600", *([f"--tag={tag}"] if tag else [])]
        return run.run(("docker", *words, "."), environ=bench.engine.environ, cwd=ROOT, check=False)

    return one


@pytest.fixture
def tag(bench: Workbench) -> Iterator[str]:
    """A tag of the test's own, gone afterwards."""
    name = f"esb-test-{os.getpid()}:latest"
    yield name
    bench.docker("image", "rm", name)
