"""The still parts of S4, S5, S7, S8, S10–S12, S16 and S17: what the Dockerfiles say, with line numbers.

A Dockerfile cannot show that an image is right, only that its way of building cannot be: what a
build and a run must show comes on top, as records (``conformance.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from esb_builder.dockerfile import Dockerfile, Instruction
from esb_builder.plan import BASES, FAMILY
from esb_builder.verify.sources import IGNORE, Recipe
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

FOLDERS = {
    "esb-gateway": "gateway",
    "esb-runtime-node": "runtime-node",
    "esb-lambda-python": "worker",
    "esb-gateway:firecracker": "gateway",
    "esb-runtime-node:firecracker": "runtime-node",
}
"""The service's folder below ``services`` whose files an image is made of, beside the common ones."""

SERVICES = tuple(name for name, folder in FOLDERS.items() if folder != "worker")
ARGUMENTS = frozenset(
    {
        "DEBIAN",
        "PYTHON",
        "SOURCE_DATE_EPOCH",
        "ESB_ROOT_CA_SHA256",
        "ESB_UID",
        "ESB_GID",
        "ESB_ARTEFACTS_KIND",
    }
)
"""Build arguments that no commit changes."""

PYTHON_BASE = "esb-python-base:latest"
ROOT_CA = "esb_root_ca"
_COMMON = ("services/common/image", "services/common/src", "services/common/tunnel.sh")
_PROXY = re.compile(r"(https?|ftp|all|no)_proxy", re.IGNORECASE)
_DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")
_IGNORED = frozenset({"**/__pycache__", "**/*.pyc"})


def narrow(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S4: every source is one of those that the image is made of; the context denies by default."""
    recipe = scene.recipe(subject)
    for one, source in _taken(recipe.read):
        if one.keyword == "ADD":
            yield recipe.finding("ADD fetches and unpacks whatever it is given", one, "use COPY")
        if not source.strip("./") or re.search(r"[*?\[]|\.\.", source):
            yield recipe.finding(f"{one.keyword} takes {source}, more than it names", one, "name each file")
        elif not _allowed(subject.name, source):
            mend = "take only services/common and the image's own service"
            yield recipe.finding(f"{source} is not on the list of what this image is made of", one, mend)
    if subject.name == next(iter(FAMILY)):  # the context is one for all images: told once
        yield from _wide_context(scene)


def own_dependencies(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S5: the step that installs the dependencies sees this service's definition and nothing else of ours."""
    recipe, folder = scene.recipe(subject), f"services/{FOLDERS[subject.name]}"
    wanted = {f"{folder}/pyproject.toml", f"{folder}/requirements.lock"}
    builder = recipe.read.stage("builder")
    install = next((one for one in builder if _installs(one)), None)
    if install is None:
        yield recipe.finding("no step of the stage builder installs locked dependencies", 1, "see venv.sh")
        return
    seen = [
        (one, source) for one, source in _taken(recipe.read) if one in builder and one.line <= install.line
    ]
    for one, source in seen:
        installer = one is install and (source.startswith(f"{_COMMON[0]}/") or source.endswith(".sh"))
        if source not in wanted and not installer:
            mend = f"before that step copy only {' and '.join(sorted(wanted))}"
            yield recipe.finding(f"the dependencies are resolved in sight of {source}", one, mend)
    for missing in sorted(wanted - {source for _, source in seen}):
        yield recipe.finding(f"the dependencies are installed without {missing}", install, "COPY it before")


def unrelated_changes(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S7: code comes after all that does not change with it, and no argument changes with every commit."""
    recipe = scene.recipe(subject)
    for one in recipe.read.of("ARG"):
        if (name := one.text.partition("=")[0]) not in ARGUMENTS:
            mend = f"only these do not: {', '.join(sorted(ARGUMENTS))}"
            yield recipe.finding(f"the argument {name} may change without need", one, mend)
    for stage in recipe.read.stages:
        inside = recipe.read.stage(stage)
        code = next((one for one in inside if one.keyword == "COPY" and _code(one)), None)
        for one in inside:
            if code and one.line > code.line and _heavy(one):
                mend = "copy the code after it"
                yield recipe.finding("a change of code runs this step again", one, mend)


def demands_root_ca(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S8: the secret is required where it is used, and it is judged there."""
    recipe = scene.recipe(subject)
    using = [one for one in recipe.read.of("RUN") if ROOT_CA in _secrets(one)]
    if not using:
        yield recipe.finding(
            "no step takes the root CA", 1, f"RUN --mount=type=secret,id={ROOT_CA},required=true …"
        )
    for one in using:
        if _secrets(one)[ROOT_CA].get("required") != "true":
            yield recipe.finding("without the secret the step runs all the same", one, "add required=true")
        if "root-ca.sh" not in one.text:
            yield recipe.finding("nothing judges the root CA", one, "let root-ca.sh do it")


def rebuilds_for_root_ca(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S17: the certificate's hash is part of the step's key, for a cache does not look into secrets."""
    recipe = scene.recipe(subject)
    for stage in recipe.read.stages:
        declared = False
        for one in recipe.read.stage(stage):
            declared |= one.keyword == "ARG" and one.text == "ESB_ROOT_CA_SHA256"
            if ROOT_CA in _secrets(one) and not (declared and "${ESB_ROOT_CA_SHA256:?" in one.text):
                mend = "ARG ESB_ROOT_CA_SHA256 in its stage, and ${ESB_ROOT_CA_SHA256:?…} in the step"
                yield recipe.finding("another root CA would not run this step again", one, mend)


def stages(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S10: every stage starts from another one, the parent or pinned bytes, and the last from the parent."""
    recipe, parent = scene.recipe(subject), FAMILY[subject.name].parent
    known = recipe.read.stages
    reference = FAMILY[parent].reference if parent else ""
    pinned = {f"${{{one.text.partition('=')[0]}}}" for one in recipe.read.of("ARG") if _pins(one)}
    for one in recipe.read.of("FROM"):
        if one.text.split()[0] not in {*known, reference, "scratch", *pinned}:
            mend = f"start from {reference or 'an image by digest'}"
            yield recipe.finding(f"a stage starts from {one.text.split()[0]}", one, mend)
    for one in recipe.read.instructions:
        for origin in _origins(one) - known.keys():
            yield recipe.finding(f"it takes files of {origin}, no stage of this file", one, "name a stage")
    yield from _leads_to(recipe, reference or next(iter(pinned), ""))
    if subject.name not in BASES:
        for wanted in {"builder", "prod"} - known.keys():
            yield recipe.finding(f"there is no stage {wanted}", 1, "builder makes what prod takes")


def builder_stage(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S11: builder starts from python-base and has uv, the service's definition and a venv."""
    recipe = scene.recipe(subject)
    folder = f"services/{FOLDERS[subject.name]}"
    builder = recipe.read.stage("builder")
    yield from _starts_from_python_base(recipe, "builder")
    wanted = {
        "uv": any(one.text == "/usr/local/bin/uv /usr/local/bin/uv" for one in builder),
        "the service's pyproject.toml": any(
            f"{folder}/pyproject.toml" in one.text.split() for one in builder
        ),
        "a step that makes the venv": any("venv.sh" in one.text and _installs(one) for one in builder),
    }
    for what, there in wanted.items():
        if not there:
            yield recipe.finding(f"the stage builder lacks {what}", _first(builder), "see services/gateway")


def prod_stage(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S12: prod starts from python-base and takes the venv, common and the service, and its entrypoint."""
    recipe = scene.recipe(subject)
    folder = f"services/{FOLDERS[subject.name]}"
    prod = recipe.read.stage("prod")
    yield from _starts_from_python_base(recipe, "prod")
    if list(recipe.read.stages)[-1] != "prod":
        yield recipe.finding("prod is not the last stage", _first(prod), "nothing comes after prod")
    copies = [(one.flag("from"), *one.text.split()) for one in prod if one.keyword == "COPY"]
    wanted = [
        ("builder", "/app/.venv", "/app/.venv"),
        (None, "services/common/src", "/app/services/common/src"),
        (None, f"{folder}/src", f"/app/{folder}/src"),
    ]
    for origin, source, target in wanted:
        if (origin, source, target) not in copies:
            words = " ".join(filter(None, ("COPY", origin and f"--from={origin}", source, target)))
            yield recipe.finding(f"the stage prod does not say {words}", _first(prod), "add it")
    if [one.text for one in prod if one.keyword == "ENTRYPOINT"] != ['["/app/entrypoint.sh"]']:
        yield recipe.finding(
            "entrypoint.sh does not start the service", _first(prod), 'ENTRYPOINT ["/app/entrypoint.sh"]'
        )


def every_builder_of_images(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S16: plain ``docker build`` and compose build it: no frontend to pull, secrets as secrets."""
    recipe = scene.recipe(subject)
    for line, text in recipe.read.comments:
        if re.match(r"#\s*syntax\s*=", text, re.IGNORECASE):
            yield recipe.finding("it pulls a frontend from a registry", line, "take the line out")
    for one in recipe.read.instructions:
        if "<<" in one.text or one.flag("link") is not None:
            yield recipe.finding("not every engine builds heredocs and --link", one, "do without")
        if one.keyword in ("ARG", "ENV") and one.text.lower().partition("=")[0] == ROOT_CA:
            yield recipe.finding("the root CA comes as a build secret alone", one, f"--secret id={ROOT_CA}")
        for name, options in _secrets(one).items():
            if options.keys() & {"target", "dst", "destination", "env"}:
                mend = "leave the target out; it is /run/secrets then"
                yield recipe.finding(f"the secret {name} leaves an empty file behind", one, mend)


def no_proxy(recipe: Recipe) -> Iterator[Finding]:
    """No Dockerfile declares a proxy: the engine keeps an undeclared one out of the history."""
    for one in recipe.read.of("ARG", "ENV"):
        if _PROXY.search(one.text):
            yield recipe.finding(
                "the Dockerfile declares a proxy", one, "leave it to the engine and to build secrets"
            )


def _taken(read: Dockerfile) -> Iterator[tuple[Instruction, str]]:
    """What each instruction takes from the checkout."""
    return ((one, source) for one in read.instructions for source in one.sources)


def _allowed(image: str, source: str) -> bool:
    if len(source.strip("/").split("/")) < 3:
        return False  # a whole service, tests and all
    own = (f"services/{FOLDERS[image]}",) if image in FOLDERS else ()
    folders = (*_COMMON[:1], *(_COMMON[1:] if own else ()), *own)
    return any(source == folder or source.startswith(f"{folder}/") for folder in folders)


def _wide_context(scene: Scene) -> Iterator[Finding]:
    """.dockerignore denies all but what Dockerfiles take."""
    rules = [(number, line) for number, line in enumerate(scene.sources.ignore, 1) if line and line[0] != "#"]
    if not rules or rules[0][1] != "*":
        yield Finding("the context holds whatever is not denied", IGNORE, "begin with a line *", 1)
    for number, rule in rules:
        if rule.startswith("!") and rule[1:] not in scene.sources.taken:
            yield Finding(f"no Dockerfile takes {rule[1:]}", IGNORE, "take the line out", number)
    for rule in sorted(_IGNORED - {rule for _, rule in rules}):
        yield Finding(f"what {rule} names enters the context", IGNORE, f"end with a line {rule}", 1)


def _installs(one: Instruction) -> bool:
    """Whether a step installs Python packages from the stage ``wheels``."""
    return one.keyword == "RUN" and "wheels.sh" in one.text and "wheels" in _origins(one)


def _code(one: Instruction) -> bool:
    return any(source.endswith(("/src", ".py")) or "/src/" in source for source in one.sources)


def _heavy(one: Instruction) -> bool:
    """A step that installs, or copies what another stage installed."""
    return bool(_origins(one) & {"debs", "wheels", "artefacts", "builder", "uv"})


def _pins(one: Instruction) -> bool:
    return bool(_DIGEST.fullmatch(one.text.partition("=")[2]))


def _secrets(one: Instruction) -> dict[str, dict[str, str]]:
    mounts = [dict(mount.options) for mount in one.mounts if mount.type == "secret"]
    return {options.get("id", ""): options for options in mounts}


def _origins(one: Instruction) -> set[str]:
    copied = {one.flag("from")} if one.keyword in ("COPY", "ADD") else set()
    return {origin for origin in (*copied, *(mount.options.get("from") for mount in one.mounts)) if origin}


def _leads_to(recipe: Recipe, wanted: str) -> Iterator[Finding]:
    known, seen = recipe.read.stages, set[str]()
    last = list(recipe.read.of("FROM"))[-1]
    start = last.text.split()[0]
    while start in known and start not in seen:
        seen.add(start)
        start = known[start]
    if start != wanted:
        yield recipe.finding(f"the image stands on {start}, not on {wanted}", last, f"start from {wanted}")


def _starts_from_python_base(recipe: Recipe, stage: str) -> Iterator[Finding]:
    start = recipe.read.stages.get(stage)
    if start != PYTHON_BASE:
        at = _first(recipe.read.stage(stage))
        yield recipe.finding(f"the stage {stage} starts from {start}", at, f"start from {PYTHON_BASE}")


def _first(stage: tuple[Instruction, ...]) -> int:
    return stage[0].line if stage else 1
