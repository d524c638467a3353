"""What the built images are: every row that an archive shows, and the gateway's contents."""

import json
import re
from pathlib import Path

import pytest
from conformance.conftest import ROOT, Workbench
from esb_builder import dockerfile, plan, run
from esb_builder.verify import CHECKS, Verdict

pytestmark = pytest.mark.engine

GATEWAY = "esb-gateway:latest"


@pytest.mark.parametrize("row", [check.row for check in CHECKS])
def test_a_row_holds_on_every_built_image(row: str, verdicts: list[Verdict]) -> None:
    mine = [verdict for verdict in verdicts if verdict.row == row]
    (images,) = [check.images for check in CHECKS if check.row == row]
    assert {verdict.image for verdict in mine} == set(images)
    assert [(one.image, one.missing, one.findings) for one in mine if one.status != "pass"] == []


def test_s6_app_holds_exactly_the_seeds_list(bench: Workbench) -> None:
    found = bench.run(GATEWAY, "find", "/app", "-path", "/app/.venv", "-prune", "-o", "-type", "f", "-print")
    files = {path for path in found.stdout.split() if "/__pycache__/" not in path}
    read = dockerfile.parse((ROOT / "services/gateway/Dockerfile").read_text())
    copied = [one for one in read.of("COPY") if one.flag("from") is None]
    sources = [word for one in copied for word in one.text.split()[:-1]]
    wanted = {f"/app/{path}" for path in plan.files(ROOT, sources)}
    wanted = (wanted - {"/app/services/gateway/entrypoint.sh"}) | {"/app/entrypoint.sh"}
    assert files == wanted
    assert {path.split("/")[3] for path in files if path.startswith("/app/services/")} == {
        "common",
        "gateway",
    }


def test_a_checkout_that_only_its_owner_can_read_builds_an_image_that_its_user_can(
    bench: Workbench, secrets: list[str], tag: str, tmp_path: Path
) -> None:
    """A umask of 077 must not reach into the image."""
    read = dockerfile.parse((ROOT / "services/gateway/Dockerfile").read_text())
    for path in ["services/gateway/Dockerfile", ".dockerignore", *plan.files(ROOT, read.sources)]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
        (tmp_path / path).chmod(0o600)
    words = ["buildx", "build", "--provenance=false", "--file=services/gateway/Dockerfile", f"--tag={tag}"]
    run.run(("docker", *words, *secrets, "."), environ=bench.engine.environ, cwd=tmp_path)
    done = bench.run(tag, "find", "/app", "!", "-readable", "-o", "-type", "d", "!", "-executable")
    assert (done.code, done.stdout) == (0, "")


@pytest.mark.shows("S18", "uv runs", "esb-gateway")
def test_s18_uv_is_there_and_works_for_the_gateways_user(bench: Workbench) -> None:
    """On a read-only root with no capability, as the box runs it."""
    as_in_the_box = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")
    version = bench.run(GATEWAY, "/usr/local/bin/uv", "--version", options=as_in_the_box)
    pinned = re.search(r"^uv==(\S+)", (ROOT / "services/common/image/uv.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    assert version.stdout.split()[:2] == ["uv", pinned[1]]
    listed = bench.run(GATEWAY, "uv", "pip", "list", "--format=freeze", options=as_in_the_box)
    assert listed.code == 0, listed.stderr
    lock = (ROOT / "services/gateway/requirements.lock").read_text()
    assert set(listed.stdout.split()) == set(re.findall(r"^([\w.-]+==[^\s;]+)", lock, re.MULTILINE))


SITE = "/app/.venv/lib/python3.12/site-packages"
PLACES = {
    "esb-gateway": ("/app/.venv/bin/python", SITE),
    "esb-runtime-node": ("/app/.venv/bin/python", SITE),
    "esb-lambda-python": ("/var/lang/bin/python3.12", "/var/runtime"),
}
OPTIONAL = re.compile(
    r"google\.protobuf\.internal\.\w+_benchmark"
    r"|(boto3|s3transfer)\.crt|botocore\.crt\.auth|botocore\.docs\.translator"
    r"|dateutil\.tz(\.win|win)|simplejson\.ordered_dict"
    r"|urllib3\.(contrib\.(emscripten(\.\w+)?|pyopenssl|socks)|http2\.connection)"
)
"""Modules that their packages import only where a system or package is there that we do not have."""

IMPORT_ALL = """
import importlib, json, pathlib, sys, warnings
warnings.simplefilter("ignore")
place = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(place))
names, failed = set(), {}
for path in place.rglob("*"):
    parts = path.relative_to(place).parts
    parts = (*parts[:-1], parts[-1].split(".")[0])
    module = path.suffix in (".py", ".so") and all(one.isidentifier() for one in parts)
    if module and parts[0] != "bin" and parts[-1] != "__main__":
        names.add(".".join(parts).removesuffix(".__init__"))
for name in sorted(names):
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps([len(names), failed]))
"""


@pytest.mark.shows("S23", "every module imports", *PLACES)
@pytest.mark.parametrize("image", PLACES)
def test_s23_every_installed_module_imports(image: str, bench: Workbench) -> None:
    """What opens a library by name while it runs is invisible in an archive; importing shows it."""
    python, place = PLACES[image]
    done = bench.run(plan.FAMILY[image].reference, python, "-c", IMPORT_ALL, place)
    assert done.code == 0, done.stderr
    number, failed = json.loads(done.stdout)
    assert number > 5
    assert {name: why for name, why in failed.items() if not OPTIONAL.fullmatch(name)} == {}
