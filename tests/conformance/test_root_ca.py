"""S8, S9, S17: no image without the right root CA, none updates it at run time, none keeps an old one."""

import hashlib
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from authorities import NOW, authority
from conformance.conftest import ROOT, Build, Workbench
from esb_builder import plan, python_prefix, run
from esb_builder.ca import issue

pytestmark = pytest.mark.engine

KEY = issue.new_key()


def certificate(days: int = 365, begins: int = 0, *, ca: bool = True) -> bytes:
    start = NOW + timedelta(days=begins)
    return issue.pem(authority(KEY, "Test Root", KEY, "Test Root", start, days, ca=ca))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(done: run.Completed) -> str:
    assert done.code != 0, "the build went through"
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def build_python_base(bench: Workbench, secrets: list[str]) -> Build:
    """Build python-base on the os-base that is in the engine, with the root CA that a test gives."""
    prefix = python_prefix.find(bench.shop.environ, Path(sys.base_prefix), sys.version_info[:2])
    packed = python_prefix.python(bench.shop.layouts, prefix, bench.shop.environ, bench.shop.voice)

    def one(secret: Path, sha256: str) -> run.Completed:
        words = ["buildx", "build", "--progress=plain", "--provenance=false", *secrets]
        words += [
            "--file=services/common/Dockerfile.python-base",
            f"--build-context=python={packed.reference}",
        ]
        words += [f"--secret=id=esb_root_ca,src={secret}", f"--build-arg=ESB_ROOT_CA_SHA256={sha256}"]
        words += ["--build-arg=SOURCE_DATE_EPOCH=1735689600", "."]
        return run.run(("docker", *words), environ=bench.engine.environ, cwd=ROOT, check=False)

    return one


@pytest.mark.shows("S8", "no secret", "esb-os-base")
def test_s8_without_the_secret_the_build_fails(build_os_base: Build) -> None:
    assert "esb_root_ca" in told(build_os_base(None, "0" * 64))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"hello\n", "exactly one PEM certificate, found 0"),
        (certificate() + certificate(), "exactly one PEM certificate, found 2"),
        (certificate() + issue.key_bytes(KEY), "holds a private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be parsed"),
        (certificate(ca=False), "not a certificate authority"),
        (certificate(days=5, begins=-30), "the certificate expired on"),
        (certificate(begins=30), "not valid before"),
    ],
    ids=[
        "empty",
        "no certificate",
        "two",
        "private key",
        "garbled",
        "no authority",
        "expired",
        "not yet valid",
    ],
)
@pytest.mark.shows("S8", "wrong root CA", "esb-os-base")
def test_s8_a_wrong_root_ca_fails_the_build_and_says_why(
    content: bytes, why: str, build_os_base: Build, tmp_path: Path
) -> None:
    path = tmp_path / "rootCA.crt"
    path.write_bytes(content)
    lines = told(build_os_base(path, sha256(path))).splitlines()
    assert [line for line in lines if "esb_root_ca: " in line and why in line]


@pytest.mark.shows("S8", "another hash", "esb-os-base")
def test_s8_another_hash_fails_the_build_and_gives_the_right_one(
    build_os_base: Build, tmp_path: Path
) -> None:
    path = tmp_path / "rootCA.crt"
    path.write_bytes(certificate())
    assert f"ESB_ROOT_CA_SHA256={sha256(path)}" in told(build_os_base(path, "0" * 64))


def test_s15_python_base_refuses_a_base_that_carries_another_root_ca(
    build_python_base: Build, tmp_path: Path
) -> None:
    path = tmp_path / "rootCA.crt"
    path.write_bytes(certificate())
    assert "the base image carries another root CA" in told(build_python_base(path, sha256(path)))


@pytest.mark.shows("S17", "hash demanded", "esb-os-base")
def test_s17_without_the_hash_the_build_stops_and_prints_the_line_to_paste(
    build_os_base: Build, tmp_path: Path
) -> None:
    path = tmp_path / "rootCA.crt"
    path.write_bytes(certificate())
    assert f"--build-arg ESB_ROOT_CA_SHA256={sha256(path)}" in told(build_os_base(path, None))


@pytest.mark.shows("S17", "rotation with a warm cache", "esb-os-base")
def test_s17_a_new_root_ca_replaces_the_old_with_a_warm_cache(
    bench: Workbench, build_os_base: Build, tag: str, tmp_path: Path
) -> None:
    path = tmp_path / "rootCA.crt"
    path.write_bytes(certificate())
    assert build_os_base(path, sha256(path), tag).code == 0
    path.write_bytes(certificate(days=700))
    done = build_os_base(path, sha256(path), tag)
    assert done.code == 0
    assert "CACHED" in done.stderr, "the packages below are not installed again"
    baked = bench.run(tag, "sha256sum", "/usr/local/share/ca-certificates/esb-rootCA.crt").stdout.split()[0]
    assert baked == sha256(path)


@pytest.mark.parametrize("image", ["esb-gateway", "esb-lambda-python"])
@pytest.mark.shows("S9", "store read-only", "esb-gateway", "esb-lambda-python")
def test_s9_the_runtime_user_cannot_change_the_trust_store(image: str, bench: Workbench) -> None:
    script = "! touch /etc/ssl/certs/x 2>/dev/null && ! [ -w /etc/ssl/certs/ca-certificates.crt ] && id -u"
    done = bench.run(plan.FAMILY[image].reference, "sh", "-c", script)
    assert done.code == 0
    assert int(done.stdout) > 0
