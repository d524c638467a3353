"""The reader of Dockerfiles, and the house's rules on our own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from dockerfile_strategies import instructions, lay_out
from esb_builder import dockerfile, plan
from esb_builder.dockerfile import Dockerfile, Instruction
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
OURS = {image.name: dockerfile.parse((ROOT / image.dockerfile).read_text()) for image in plan.FAMILY.values()}
FETCHES = ("debs.sh", "wheels.sh")
EVERY = pytest.mark.parametrize("name", OURS)

SAMPLE = """# a comment
ARG BASE=debian:12
FROM scratch AS wheels

FROM ${BASE} AS builder
# why
RUN --mount=type=secret,id=one,required --mount=type=bind,source=a/b.sh,target=/run/b.sh \\
    --mount=type=bind,from=wheels,target=/w \\
    sh /run/b.sh \\
    && true
COPY --chmod=0755 x y /there/
COPY --from=builder /out /out
FROM builder
"""


def test_it_reads_stages_sources_arguments_and_mounts() -> None:
    read = dockerfile.parse(SAMPLE)
    assert read.stages == {"wheels": "scratch", "builder": "${BASE}", "": "builder"}
    assert read.sources == ("a/b.sh", "x", "y")
    assert read.arguments == {"BASE"}
    (run,) = read.of("RUN")
    assert run.line == 7
    assert [mount.type for mount in run.mounts] == ["secret", "bind", "bind"]
    assert run.mounts[0].options == {"type": "secret", "id": "one", "required": "true"}
    assert run.text.startswith("sh /run/b.sh")
    assert run.text.endswith("&& true")


@pytest.mark.parametrize("text", ["RUN a \\\n", "==\n", "FROM a\n&& b\n"])
def test_what_is_no_dockerfile_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match="line "):
        dockerfile.parse(text)


@given(st.lists(instructions(), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_whatever_the_layout_the_same_instructions_are_read(
    wanted: list[Instruction], chance: random.Random
) -> None:
    """Comments, blank lines, case, indentation and continued lines change nothing but line numbers."""
    text, lines = lay_out(wanted, chance)
    read = dockerfile.parse(text)
    assert [(one.keyword, one.flags, one.text.split()) for one in read.instructions] == [
        (one.keyword, one.flags, one.text.split()) for one in wanted
    ]
    assert [one.line for one in read.instructions] == lines


@given(st.text(alphabet="RUNCOPY \\\n#-=,.\t\"'/ab", max_size=200))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    told, read = "line ", Dockerfile(())
    try:
        read = dockerfile.parse(text)
    except ValueError as error:
        told = str(error)
    assert told.startswith("line ")
    assert all(1 <= one.line <= text.count("\n") + 1 for one in read.instructions)


@EVERY
def test_no_dockerfile_names_a_frontend_to_pull(name: str) -> None:
    assert [line for line, text in OURS[name].comments if "syntax=" in text.replace(" ", "")] == []


@EVERY
def test_every_dockerfile_keeps_to_what_all_engines_build(name: str) -> None:
    """No heredoc, no --link: BuildKit's built-in frontend and buildah both take the rest."""
    for one in OURS[name].instructions:
        assert "<<" not in one.text, one
        assert one.flag("link") is None, one
        assert one.keyword != "ADD", one


@EVERY
def test_nothing_wide_is_copied(name: str) -> None:
    """S4: each source is one file or one source folder of a service that the image is made of."""
    for source in OURS[name].sources:
        assert source.strip("./"), f"{name} copies everything"
        parts = Path(source).parts
        assert parts[0] == "services", source
        assert len(parts) >= 3, source
        assert parts[1] in {"common", *services_of(name)}, source


def services_of(name: str) -> set[str]:
    return {"esb-lambda-python": {"worker"}}.get(name, {name.removeprefix("esb-").partition(":")[0]})


def test_the_context_lets_in_exactly_what_dockerfiles_take() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "deny by default"
    allowed = {line.removeprefix("!") for line in rules if line.startswith("!")}
    taken = {source for read in OURS.values() for source in read.sources}
    assert allowed == taken
    assert [rule for rule in rules[1:] if not rule.startswith("!")] == ["**/__pycache__", "**/*.pyc"]
    assert [one for one in sorted(allowed) if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("name", plan.BASES)
def test_the_bases_demand_the_root_ca_and_its_hash(name: str) -> None:
    """S8, S17: secret and hash stand in one RUN, because the cache does not look into secrets."""
    (run,) = [one for one in OURS[name].of("RUN") if secrets(one).keys() & {"esb_root_ca"}]
    assert secrets(run)["esb_root_ca"] == "true"
    assert "${ESB_ROOT_CA_SHA256:?" in run.text
    assert "ESB_ROOT_CA_SHA256" in OURS[name].arguments


def secrets(run: Instruction) -> dict[str, str]:
    """The secrets of a RUN by id, with whether they are required."""
    found = [mount.options for mount in run.mounts if mount.type == "secret"]
    return {options["id"]: options.get("required", "false") for options in found}


@EVERY
def test_only_steps_that_fetch_see_what_fetching_needs(name: str) -> None:
    for run in OURS[name].of("RUN"):
        fetches = any(script in run.text for script in FETCHES)
        asked = secrets(run).keys() - {"esb_root_ca"}
        assert bool(asked) == fetches, run
        assert all(secrets(run)[one] == "false" for one in asked), "a machine without a proxy builds too"


@EVERY
def test_no_secret_or_mount_leaves_a_trace(name: str) -> None:
    """A secret outside /run/secrets leaves an empty file; trust while fetching is put together on a tmpfs."""
    for run in OURS[name].of("RUN"):
        assert all(
            "target" not in mount.options and "dst" not in mount.options
            for mount in run.mounts
            if mount.type == "secret"
        ), run
        if "wheels.sh" in run.text:
            assert any(mount.options.get("target") == "/tmp" for mount in run.mounts if mount.type == "tmpfs")


@EVERY
def test_tls_checks_are_never_switched_off(name: str) -> None:
    scripts = [ROOT / source for source in OURS[name].sources if source.endswith(".sh")]
    text = "".join(path.read_text() for path in (*scripts, ROOT / plan.FAMILY[name].dockerfile))
    for off in (
        "--trusted-host",
        "--allow-insecure",
        "Verify-Peer",
        "allow-unauthenticated",
        "insecure",
        "--no-check",
    ):
        assert off not in text


@EVERY
def test_every_image_ends_on_the_base_that_the_family_says(name: str) -> None:
    """S2, S10: stages lead from the last one down to the parent."""
    parent = plan.FAMILY[name].parent
    read = OURS[name]
    start = list(read.stages.values())[-1]
    while start in read.stages:
        start = read.stages[start]
    assert start == (f"{parent}:latest" if parent else "${DEBIAN}")


@pytest.mark.parametrize("name", [name for name in OURS if "gateway" in name or "node" in name])
def test_services_are_built_in_a_builder_and_shipped_from_prod(name: str) -> None:
    """S10, S11, S12."""
    read = OURS[name]
    assert read.stages["builder"] == read.stages["prod"] == "esb-python-base:latest"
    assert list(read.stages)[-1] == "prod"
    copied = [one for one in prod(read) if one.keyword == "COPY"]
    assert any(one.flag("from") == "builder" and one.text == "/app/.venv /app/.venv" for one in copied)
    assert [one.text for one in prod(read) if one.keyword == "ENTRYPOINT"] == ['["/app/entrypoint.sh"]']


def prod(read: Dockerfile) -> list[Instruction]:
    last = max(number for number, one in enumerate(read.instructions) if one.keyword == "FROM")
    return list(read.instructions[last:])


def test_no_entrypoint_touches_the_trust_store() -> None:
    """S9."""
    for path in ROOT.glob("services/*/entrypoint*.sh"):
        assert "update-ca-certificates" not in path.read_text()
