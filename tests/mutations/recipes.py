"""Our own Dockerfiles with one change each that must fail a row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esb_builder.plan import FAMILY
from esb_builder.verify import Sources
from esb_builder.verify.sources import IGNORE

ROOT = Path(__file__).parents[2]

GATEWAY, NODE = "esb-gateway", "esb-runtime-node"
CODE = "COPY services/gateway/src /app/services/gateway/src\n"
SPEC = "COPY services/gateway/pyproject.toml services/gateway/requirements.lock /app/services/gateway/\n"
VENV = "COPY --from=builder /app/.venv /app/.venv\n"
UV = "COPY --from=uv /usr/local/bin/uv /usr/local/bin/uv\n"
SECRET = "--mount=type=secret,id=esb_root_ca,required=true"
PROD = "FROM esb-python-base:latest AS prod\n"
BUILDER = "FROM esb-python-base:latest AS builder\n"


@dataclass(frozen=True)
class Change:
    """``old`` becomes ``new`` where it stands last in an image's Dockerfile, or in ``.dockerignore``."""

    image: str
    old: str
    new: str

    def sources(self) -> Sources:
        """The checkout's sources with this change."""
        paths = {image.dockerfile for image in FAMILY.values()}
        texts = {path: (ROOT / path).read_text() for path in {*paths, IGNORE}}
        path = IGNORE if self.image == IGNORE else FAMILY[self.image].dockerfile
        head, found, tail = texts[path].rpartition(self.old)
        assert found, f"{path} does not say {self.old!r}"
        texts[path] = head + self.new + tail
        return Sources.of({name: texts[name] for name in paths}, texts[IGNORE])


MUTATIONS: list[tuple[str, str, Change, str]] = [
    ("S4", GATEWAY, Change(GATEWAY, CODE, "COPY . /app\n"), "more than it names"),
    ("S4", GATEWAY, Change(GATEWAY, CODE, CODE + "COPY services/*/src /app/\n"), "more than it names"),
    (
        "S4",
        GATEWAY,
        Change(GATEWAY, CODE, "COPY services/gateway /app/services/gateway\n"),
        "not on the list",
    ),
    (
        "S4",
        GATEWAY,
        Change(GATEWAY, CODE, CODE + "COPY services/worker/src /app/worker\n"),
        "not on the list",
    ),
    ("S4", NODE, Change(NODE, VENV, VENV + "ADD services/runtime-node/src /app/x\n"), "ADD fetches"),
    (
        "S4",
        NODE,
        Change(NODE, "source=services/common/image/debs.sh,target", "source=services,target"),
        "not on the list",
    ),
    ("S4", "esb-os-base", Change(IGNORE, "*\n!services/common/image/debs.sh", "!services"), "not denied"),
    (
        "S4",
        "esb-os-base",
        Change(IGNORE, "!services/gateway/src\n", "!services/gateway\n"),
        "no Dockerfile takes",
    ),
    ("S4", "esb-os-base", Change(IGNORE, "**/*.pyc\n", ""), "**/*.pyc names enters"),
    (
        "S5",
        GATEWAY,
        Change(GATEWAY, BUILDER, f"{BUILDER}COPY pyproject.toml /app/\n"),
        "in sight of pyproject.toml",
    ),
    ("S5", GATEWAY, Change(GATEWAY, BUILDER, BUILDER + CODE), "in sight of services/gateway/src"),
    (
        "S5",
        "esb-lambda-python",
        Change("esb-lambda-python", "services/worker/requirements.lock /build/", "/build/"),
        "without services/worker/requirements.lock",
    ),
    (
        "S5",
        GATEWAY,
        Change(GATEWAY, "sh /run/wheels.sh sh /run/venv.sh", "sh /run/venv.sh"),
        "no step of the stage builder installs",
    ),
    (
        "S7",
        GATEWAY,
        Change(GATEWAY, f"{UV}{VENV}", f"{CODE}{UV}{VENV}"),
        "a change of code runs this step again",
    ),
    ("S7", NODE, Change(NODE, PROD, f"{PROD}ARG GIT_COMMIT\n"), "GIT_COMMIT may change"),
    ("S8", "esb-os-base", Change("esb-os-base", ",required=true", ""), "runs all the same"),
    ("S8", "esb-os-base", Change("esb-os-base", f"{SECRET} ", ""), "no step takes the root CA"),
    (
        "S8",
        "esb-python-base",
        Change("esb-python-base", "sh /run/root-ca.sh same", "install /run/secrets/esb_root_ca"),
        "nothing judges",
    ),
    (
        "S10",
        GATEWAY,
        Change(GATEWAY, BUILDER, "FROM python:3.12-slim AS builder\n"),
        "starts from python:3.12-slim",
    ),
    ("S10", GATEWAY, Change(GATEWAY, PROD, "FROM esb-python-base:latest\n"), "no stage prod"),
    (
        "S10",
        NODE,
        Change(NODE, VENV, "COPY --from=tools:latest /app/.venv /app/.venv\n"),
        "files of tools:latest",
    ),
    (
        "S10",
        "esb-os-base",
        Change("esb-os-base", "FROM ${DEBIAN} AS debian", "FROM debian:bookworm AS debian"),
        "stands on debian:bookworm",
    ),
    (
        "S11",
        GATEWAY,
        Change(GATEWAY, BUILDER, "FROM esb-os-base:latest AS builder\n"),
        "starts from esb-os-base",
    ),
    ("S11", GATEWAY, Change(GATEWAY, f"{UV}{SPEC}", SPEC), "lacks uv"),
    ("S11", NODE, Change(NODE, "sh /run/venv.sh", "pip install -r"), "lacks a step that makes the venv"),
    (
        "S12",
        GATEWAY,
        Change(GATEWAY, VENV, "RUN python3.12 -m venv /app/.venv\n"),
        "--from=builder /app/.venv",
    ),
    ("S12", NODE, Change(NODE, PROD, "FROM esb-runtime:latest AS prod\n"), "prod starts from esb-runtime"),
    (
        "S12",
        GATEWAY,
        Change(GATEWAY, 'ENTRYPOINT ["/app/entrypoint.sh"]', "ENTRYPOINT python -m esb_gateway"),
        "entrypoint.sh does not start",
    ),
    (
        "S16",
        GATEWAY,
        Change(GATEWAY, "FROM scratch AS wheels", "# syntax=docker/dockerfile:1\nFROM scratch AS wheels"),
        "frontend",
    ),
    ("S16", GATEWAY, Change(GATEWAY, CODE, CODE.replace("COPY", "COPY --link")), "not every engine"),
    ("S16", NODE, Change(NODE, VENV, f"{VENV}RUN sh <<EOF\n"), "not every engine"),
    (
        "S16",
        "esb-os-base",
        Change("esb-os-base", "required=true", "required=true,target=/tmp/ca.crt"),
        "empty file",
    ),
    (
        "S16",
        "esb-os-base",
        Change("esb-os-base", "ARG ESB_ROOT_CA_SHA256", "ARG ESB_ROOT_CA"),
        "build secret alone",
    ),
    (
        "S17",
        "esb-os-base",
        Change("esb-os-base", "${ESB_ROOT_CA_SHA256:?is", "${X:?is"),
        "would not run this step again",
    ),
    (
        "S17",
        "esb-python-base",
        Change("esb-python-base", "ARG ESB_ROOT_CA_SHA256\n", ""),
        "would not run this step again",
    ),
    ("leaks", GATEWAY, Change(GATEWAY, PROD, f"{PROD}ARG https_proxy\n"), "the Dockerfile declares a proxy"),
    ("leaks", NODE, Change(NODE, "ENV PATH", "ENV HTTP_PROXY=http://10.0.0.1 PATH"), "declares a proxy"),
]
