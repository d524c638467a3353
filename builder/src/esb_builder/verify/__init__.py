"""Judges built images from archives and Dockerfiles: offline, running nothing, the engine's word not taken.

What is still of each row of the conformance table is one :class:`Check`. A check never guesses:
where it needs an image that was not given, it says *not shown*. What only a build or a run can show comes as
records on top (:mod:`esb_builder.verify.conformance`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from esb_common.errors import BadInput

from esb_builder.archive import Archive
from esb_builder.plan import BASES, FAMILY
from esb_builder.verify import (
    application,
    closure,
    conformance,
    firecracker,
    leaks,
    lineage,
    origin,
    powers,
    recipes,
    sarif,
    secrets,
    trust,
)
from esb_builder.verify.sources import Sources
from esb_builder.verify.subject import Check, Scene, Subject
from esb_builder.verify.verdict import Finding, Verdict, document, table

__all__ = [
    "CHECKS",
    "Finding",
    "Sources",
    "Subject",
    "Verdict",
    "conformance",
    "document",
    "judge",
    "sarif",
    "subjects",
    "table",
]

ALL = tuple(FAMILY)
OWN = tuple(recipes.FOLDERS)
"""Images with dependencies of their own."""

_SERVICES = tuple(application.SERVICES)

CHECKS = (
    Check("S1", "Debian 12 and its libc everywhere", ALL, lineage.one_distribution, lineage.os_base),
    Check("S2", "each image stands on its base", ALL[1:], lineage.right_parent, lineage.parent_of),
    Check("S3", "shared layers need one scan", ALL[1:], lineage.scanned_once, lineage.parent_of),
    Check("S4", "Dockerfiles take only what they need", ALL, recipes.narrow),
    Check("S5", "dependencies come from the service's own lock", OWN, application.locked_dependencies),
    Check("S6", "/app holds only the service's own", _SERVICES, application.only_its_own),
    Check("S7", "an unrelated change breaks no cache", ALL, recipes.unrelated_changes),
    Check("S8", "no build without the root CA", BASES, recipes.demands_root_ca),
    Check("S9", "nothing updates the trust store at run time", ALL, trust.fixed_at_run_time),
    Check("S10", "stages lead from the base to prod", ALL, recipes.stages),
    Check("S11", "builder makes the venv on python-base", _SERVICES, recipes.builder_stage),
    Check("S12", "prod is venv, code and entrypoint", _SERVICES, application.started_by_entrypoint),
    Check("S13", "the root CA is baked at its path", ALL, trust.baked),
    Check("S14", "the trust store was updated in the build", ALL, trust.installed),
    Check("S15", "all images hold the same trust store", ALL[1:], trust.same_store, lineage.os_base),
    Check("S16", "BuildKit and compose build it, with secrets", ALL, recipes.every_builder_of_images),
    Check("S17", "another root CA means another image", BASES, recipes.rebuilds_for_root_ca),
    Check("S18", "services carry uv", _SERVICES, application.carries_uv),
    Check(
        "S19",
        "Firecracker only where its mode's node is",
        ALL,
        firecracker.firecracker_in_its_place,
        adds=firecracker.stand_ins,
    ),
    Check("S20", "WireGuard only in Firecracker mode", ALL, firecracker.wireguard_in_its_place),
    Check("S21", "the gateway's user is not root", ("esb-gateway",), application.not_root),
    Check("S22", "in Firecracker mode the gateway is root", (firecracker.GATEWAY,), firecracker.is_root),
    Check("S23", "every shared library is in the image", ALL, closure.complete),
    Check("secrets", "no secret in any layer or setting", ALL, secrets.none),
    Check("powers", "no set-uid program beyond Debian's", ALL, powers.listed),
    Check("writable", "nothing is for everybody to write", ALL, powers.not_for_everybody),
    Check("editable", "no package leads out of the image", ALL, origin.nothing_editable),
    Check("origin", "every file has a known origin", ALL, origin.known, lineage.parent_of),
    Check("leaks", "nothing of the building machine", ALL, leaks.nothing),
)
"""Rows of the conformance table by their number, and what holds beyond it by a word."""


def subjects(archives: Iterable[Archive]) -> dict[str, Subject]:
    """The images of the family in ``archives``, by name. BadInput where one holds no image of it."""
    found: dict[str, Subject] = {}
    for archive in archives:
        known = {name: image for image in archive.images() if (name := _name(image.names)) is not None}
        if not known:
            raise BadInput(
                f"{archive.path} holds no image of the family", f"expected a tag of: {', '.join(ALL)}"
            )
        found |= {name: Subject.of(name, image) for name, image in known.items()}
    return found


def judge(
    family: Mapping[str, Subject], names: Sequence[str], now: datetime, sources: Sources
) -> list[Verdict]:
    """Every check on every image of ``names``; the rest of ``family`` is only looked at."""
    scene = Scene(family, now, sources)
    return [
        _verdict(check, family[name], scene) for check in CHECKS for name in names if name in check.images
    ]


def _verdict(check: Check, subject: Subject, scene: Scene) -> Verdict:
    lacking = [name for name in check.needs(subject.name) if name not in scene.family]
    if lacking:
        missing = f"it needs {', '.join(lacking)} beside it"
        return Verdict(check.row, check.says, subject.name, missing=missing)
    findings = tuple(check.judge(subject, scene))
    return Verdict(check.row, check.says, subject.name, findings, note=check.adds(subject))


def _name(names: Sequence[str]) -> str | None:
    """The family's name in an image's tags, whatever registry they name; a variant is named by its tag."""
    tagged = [name.rpartition("/")[2] for name in names]
    bare = [name.partition(":")[0] for name in tagged]
    return next((name for name in (*tagged, *bare) if name in FAMILY), None)
