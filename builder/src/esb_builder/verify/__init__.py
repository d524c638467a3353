"""Judges built images from their archives alone: offline, running nothing, the engine's word not taken.

Each row of the conformance table that an archive can show is one :class:`Check`. A check never guesses:
where it needs an image that was not given, it says *not shown*. The whole family takes about 3 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from esb_common.errors import BadInput

from esb_builder.archive import Archive
from esb_builder.plan import FAMILY
from esb_builder.verify import application, closure, firecracker, lineage, trust
from esb_builder.verify.subject import Check, Scene, Subject
from esb_builder.verify.verdict import Finding, Verdict, document, table

__all__ = ["CHECKS", "Finding", "Subject", "Verdict", "document", "judge", "subjects", "table"]

ALL = tuple(FAMILY)

CHECKS = (
    Check("S1", "Debian 12 and its libc everywhere", ALL, lineage.one_distribution, lineage.os_base),
    Check("S2", "each image stands on its base", ALL[1:], lineage.right_parent, lineage.parent_of),
    Check("S6", "/app holds only the service's own", tuple(application.SERVICES), application.only_its_own),
    Check("S13", "the root CA is baked at its path", ALL, trust.baked),
    Check("S14", "the trust store was updated in the build", ALL, trust.installed),
    Check("S15", "all images hold the same trust store", ALL[1:], trust.same_store, lineage.os_base),
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
)


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


def judge(family: dict[str, Subject], names: Sequence[str], now: datetime) -> list[Verdict]:
    """Every check on every image of ``names``; the rest of ``family`` is only looked at."""
    scene = Scene(family, now)
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
