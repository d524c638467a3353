"""A root CA with all that hangs on it, in a folder: certificates, keys, and the stamps of its images."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from esb_common.errors import BadInput, Misuse

from esb_builder import ca
from esb_builder.ca import Folders, files, judge
from esb_builder.stamps import Stamp

_FAMILY = "family.json"


@dataclass(frozen=True, slots=True)
class Generation:
    """``folder`` is for its owner alone. Images are named by stamps; their layers lie on the shelf."""

    folder: Path

    def folders(self, like: Folders) -> Folders:
        """Its files, in the shape of ``like``."""
        return replace(like, certificates=self.folder / "certs", authority=self.folder / "ca")

    @property
    def fingerprint(self) -> str:
        """Of its root CA: the SHA-256 of the DER."""
        return fingerprint(self.folder / "certs/rootCA.crt")

    @property
    def family(self) -> dict[str, Stamp]:
        """Its images by name; none where none were built."""
        content = files.read(self.folder / _FAMILY)
        return {name: Stamp(**one) for name, one in json.loads(content).items()} if content else {}

    def note(self, family: Mapping[str, Stamp]) -> None:
        """Say which images it has."""
        told = json.dumps({name: asdict(stamp) for name, stamp in family.items()}, indent=1)
        files.write(self.folder / _FAMILY, told.encode(), 0o600)


def fingerprint(root: Path) -> str:
    """Of the certificate in a file. BadInput where there is none."""
    content = files.read(root)
    if content is None:
        raise BadInput(f"{root} is missing", "run: ./esb ca init")
    return judge.fingerprint(judge.chain(content, str(root))[0])


def record(folder: Path, current: Folders, family: Mapping[str, Stamp]) -> Generation:
    """Keep what is in force in the empty ``folder``."""
    kept = Generation(folder)
    _copy(current, kept.folders(current))
    kept.note(family)
    return kept


def of_our_own(folder: Path, current: Folders, now: dt.datetime) -> Generation:
    """A new authority and a new certificate for the gateway. Misuse where the present CA is a company's."""
    if ca.check(current, now).company:
        raise Misuse(
            f"{current.root} is your company's, which ESB cannot make anew",
            "take its successor: ./esb ca rotate --from FILE",
        )
    made = Generation(folder)
    ca.init(made.folders(current), now)
    return made


def given(
    folder: Path, current: Folders, root: bytes, certificate: bytes | None, now: dt.datetime
) -> Generation:
    """A company's new root CA, and the gateway's ``certificate`` where the company has signed one already.

    The gateway keeps its key, so that an answer to its request fits. BadInput where anything does not hold.
    """
    made = Generation(folder)
    target = made.folders(current)
    judge.root(root, "the new root CA", now)
    _copy(current, target)
    target.certificate.unlink(missing_ok=True)
    files.write(target.root, root, 0o644)
    if certificate is not None:
        files.write(target.certificate, certificate, 0o644)
    ca.init(target, now)
    if made.fingerprint == fingerprint(current.root):
        raise BadInput("that is the root CA in force", "nothing to rotate")
    return made


def install(generation: Generation, current: Folders) -> None:
    """Put its files where everybody reads them, each in one step. Safe to repeat."""
    _copy(generation.folders(current), current)


def _copy(source: Folders, target: Folders) -> None:
    files.folder(target.certificates, 0o755)
    files.folder(target.authority, 0o700)
    for (taken, mode), (place, _) in zip(_places(source), _places(target), strict=True):
        content = files.read(taken)
        if content is None:
            place.unlink(missing_ok=True)
        elif content != files.read(place) or place.stat().st_mode & 0o777 != mode:
            files.write(place, content, mode, (target.uid, target.gid) if place == target.key else None)


def _places(folders: Folders) -> tuple[tuple[Path, int], ...]:
    return (
        (folders.own_key, 0o600),
        (folders.own_root, 0o644),
        (folders.key, 0o600),
        (folders.certificate, 0o644),
        (folders.request, 0o644),
        (folders.root, 0o644),
    )
