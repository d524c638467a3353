"""Does this engine do what our builds need? Asked by building, not by comparing versions.

One tiny image is built from nothing: a named context overrides a stage, a required secret is
mounted, a program of a hundred bytes runs, and the saved image is an OCI layout. Packagers'
version strings say little (Debian's BuildKit calls itself v0.0.0); this takes one or two
seconds once, and the answer is kept per engine and version.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tarfile
import tempfile
from pathlib import Path

from esb_common.errors import EsbError, NotPossibleHere

from esb_builder.engine.client import Engine

_TAG = "esb-engine-probe"
_PROBE_VERSION = "1"
_DOCKERFILE = """\
FROM scratch AS given
FROM scratch
COPY --from=given /probe /probe
RUN --mount=type=secret,id=probe,required=true --network=none ["/probe"]
"""

_EXIT_0 = {
    "x86_64": (62, bytes.fromhex("b83c00000031ff0f05")),  # mov eax,60; xor edi,edi; syscall
    "aarch64": (183, bytes.fromhex("a80b8052000080d2010000d4")),  # mov w8,93; mov x0,0; svc 0
}
"""Machine (``uname -m``) → ELF machine number and code that exits with 0."""


def check(engine: Engine, cache: Path) -> None:
    """NotPossibleHere where the engine lacks a feature; free once it was seen to work."""
    shown = engine.docker("info", "--format", "{{json .}}").stdout
    info = json.loads(shown)
    name = hashlib.sha256(f"{info['ID']} {info['ServerVersion']} {_PROBE_VERSION}".encode()).hexdigest()
    seen = cache / f"{name[:32]}.json"
    if seen.exists():
        return
    try:
        _build(engine, info["Architecture"])
    except NotPossibleHere:
        raise
    except EsbError as error:
        raise NotPossibleHere(
            f"the Docker engine at {engine.address} (version {info['ServerVersion']}) cannot build "
            f"ESB's images:\n  {error.fact}",
            "install Docker 25 or newer with buildx and point DOCKER_HOST at it, "
            "or stop this engine and let ESB bring its own, or run without one: ./esb up --embedded",
        ) from None
    cache.mkdir(parents=True, exist_ok=True)
    seen.write_text(json.dumps({"id": info["ID"], "version": info["ServerVersion"]}))


def tiny_program(machine: str) -> bytes:
    """An ELF executable that exits with 0 (one loadable segment, no libc)."""
    number, code = _EXIT_0[machine]
    start, base = 64 + 56, 0x400000
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, number, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = start + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return identity + header + segment + code


def _build(engine: Engine, machine: str) -> None:
    if machine not in _EXIT_0:
        raise NotPossibleHere(f"ESB's images are built for {' and '.join(_EXIT_0)}, not {machine}")
    with tempfile.TemporaryDirectory(prefix="esb-probe-") as folder:
        place = Path(folder)
        for name in ("empty", "given"):
            (place / name).mkdir()
        (place / "given/probe").write_bytes(tiny_program(machine))
        (place / "given/probe").chmod(0o755)
        (place / "Dockerfile").write_text(_DOCKERFILE)
        (place / "secret").write_bytes(os.urandom(8))  # a fresh secret and context: nothing is cached
        tag = f"{_TAG}:{place.name}"  # another run may ask at the same time
        secret, given = f"id=probe,src={place}/secret", f"given={place}/given"
        # fmt: off
        engine.docker("buildx", "build", "--load", "--no-cache", "--provenance=false", "--tag", tag,
                      "--secret", secret, "--build-context", given,
                      "--file", place / "Dockerfile", place / "empty")
        # fmt: on
        engine.docker("save", "--output", place / "saved.tar", tag)
        engine.docker("image", "rm", tag)
        _refuse_old_archive((place / "saved.tar").read_bytes())


def _refuse_old_archive(saved: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        if "oci-layout" not in archive.getnames():
            raise NotPossibleHere(
                "this Docker engine saves images in the old format, without their OCI layout",
                "install Docker 25 or newer and point DOCKER_HOST at it, or run: ./esb up --embedded",
            )
