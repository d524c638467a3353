"""Debian's part of the lock: apt solves it on an index that we hold, in a root of its own.

First the signed InRelease of each suite and the Packages index that it vouches for are brought into
the store. On exactly these, as a local archive, apt then solves step by step: the bootstrapped root,
then each Dockerfile's packages on top of what its parent has. apt verifies the signatures itself; of
the machine it knows the proxies and date checks, and none of its packages, pins or lists. So the answer
is a function of the index, and every package in a lock is named by an index that the lock names.

Cost: 9.5 MB and about 6 s.
"""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esb_common.errors import BadInput, Broken, EsbError, NotPossibleHere

from esb_builder import base, run
from esb_builder.lock import index
from esb_builder.lock.model import Archive, Deb, Step
from esb_builder.lock.recipes import BASE, BASE_PACKAGES, Recipes
from esb_builder.sources import http
from esb_builder.sources.machine import Machine, suites_of
from esb_builder.store import Store
from esb_builder.voice import Voice

_MOST_INRELEASE = 4 << 20
_MOST_PACKAGES = 1 << 29


@dataclass(frozen=True, slots=True)
class Solved:
    """What Debian contributes."""

    archives: Mapping[str, Archive]
    steps: Mapping[str, Step]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a solution stands on: packages whose version must not change, and the dpkg status of the
    public image that takes the bootstrapped root's place, where one does.
    """

    stays: Mapping[str, Deb] = field(default_factory=dict)
    base_status: str | None = None


def solve(
    architecture: str, recipes: Recipes, ground: Ground, machine: Machine, store: Store, voice: Voice
) -> Solved:
    """Resolve every step of ``recipes``.

    BadInput where a package that must stay is in no index any more, so that it cannot when others move.
    """
    with voice.step("read Debian's signed index"):
        archives = {suite: _archive(suite, architecture, machine, store) for suite in _suites(machine)}
    with (
        tempfile.TemporaryDirectory(prefix="esb-lock-") as scratch,
        voice.step("let apt resolve the packages"),
    ):
        room = _Room(Path(scratch), architecture, archives, machine, store)
        room.open()
        room.hold(ground.stays)
        steps = {}
        if ground.base_status is None:
            steps[BASE] = room.step(BASE, BASE_PACKAGES, "")
        else:
            room.has(BASE, ground.base_status)
        steps |= {
            name: room.step(name, asked, recipes.parents[name]) for name, asked in recipes.asked.items()
        }
    return Solved(archives, steps)


def _suites(machine: Machine) -> list[str]:
    found = suites_of(machine.apt)
    if not found:
        raise NotPossibleHere(
            "apt knows no mirror of Debian's main archive here",
            "add one to apt's sources, or lock on a machine that has one: the lock works behind any mirror",
        )
    return found


def _archive(suite: str, architecture: str, machine: Machine, store: Store) -> Archive:
    """Bring a suite's InRelease and Packages into the store."""
    signed = _signed(suite, machine)
    text = signed.decode(errors="replace")
    path = f"main/binary-{architecture}/Packages.xz"
    packages = index.indexed(text, path)
    folder, name = f"dists/{suite}/{path}".rsplit("/", 1)
    by_hash = machine.archive(suite, f"{folder}/by-hash/SHA256/{packages.sha256}")
    http.obtain(machine.web, [*by_hash, *machine.archive(suite, f"{folder}/{name}")], packages, store)
    return Archive(index.date_of(text), store.add_bytes(signed), packages)


def _signed(suite: str, machine: Machine) -> bytes:
    """The InRelease of the first mirror that answers, once gpgv has verified it."""
    errors: list[EsbError] = []
    for location in machine.archive(suite, f"dists/{suite}/InRelease"):
        try:
            signed = http.read(machine.web, location, _MOST_INRELEASE)
        except (http.Gone, http.Unreachable) as error:
            errors.append(error)
            continue
        verify(signed, location.shown, machine.environ)
        return signed
    raise errors[-1]


def verify(signed: bytes, name: str, environ: Mapping[str, str]) -> None:
    """BadInput unless Debian's archive keys have signed this text."""
    done = run.run(
        ("gpgv", "--quiet", "--keyring", base.KEYRING), environ=run.clean(environ), stdin=signed, check=False
    )
    if done.code != 0:
        said = (done.stderr.strip() or "gpgv refuses it").splitlines()[-1]
        raise BadInput(
            f"{name} is not signed by Debian's archive keys: {said}", "check the mirror that apt uses"
        )


class _Room:
    """A root of apt's own in ``folder``, with nothing in it but the index at hand."""

    def __init__(
        self, folder: Path, architecture: str, archives: Mapping[str, Archive], machine: Machine, store: Store
    ) -> None:
        self._folder = folder
        self._architecture = architecture
        self._archives = archives
        self._machine = machine
        self._store = store
        self._packages: dict[str, str] = {}
        self._installed: dict[str, str] = {}
        self._environ = run.clean(machine.environ, APT_CONFIG=str(folder / "apt.conf"))

    def open(self) -> None:
        """Lay the archive down and let apt read it, verifying its signatures."""
        for suite, archive in self._archives.items():
            place = self._folder / f"archive/dists/{suite}/main/binary-{self._architecture}"
            place.mkdir(parents=True)
            index_path = self._store.path(archive.packages.sha256)
            (place / "Packages.xz").symlink_to(index_path.absolute())
            (place.parents[1] / "InRelease").symlink_to(self._store.path(archive.inrelease.sha256).absolute())
            self._packages[suite] = _unpacked(index_path)
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "status").touch()
        (self._folder / "sources.list").write_text("".join(self._source(suite) for suite in self._archives))
        (self._folder / "apt.conf").write_text(self._configuration())
        self._apt("-o", "APT::Update::Error-Mode=any", "update")

    def _source(self, suite: str) -> str:
        options = f"arch={self._architecture} signed-by={base.KEYRING}"
        return f"deb [{options}] file:{self._folder}/archive {suite} main\n"

    def _configuration(self) -> str:
        own = self._folder
        return (
            'Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null"; Dir::Etc::sourceparts "/dev/null";\n'
            f'Dir::Etc::sourcelist "{own}/sources.list"; Dir::Etc::preferences "{own}/preferences";\n'
            'Dir::Etc::preferencesparts "/dev/null"; Dir::Etc::trusted "/dev/null";\n'
            'Dir::Etc::trustedparts "/dev/null"; APT::Sandbox::User "root"; Acquire::Languages "none";\n'
            f'Dir::State "{own}"; Dir::State::lists "{own}/lists"; Dir::State::status "{own}/status";\n'
            f'Dir::Cache "{own}/cache"; APT::Architecture "{self._architecture}";\n'
            f'APT::Architectures {{ "{self._architecture}"; }};\n'
            'APT::Install-Recommends "false"; APT::Install-Suggests "false";\n'
        ) + self._machine.apt.settings

    def hold(self, stays: Mapping[str, Deb]) -> None:
        """Let apt choose no other version of these. BadInput where an index has that version no more."""
        wanted = {index.Chosen(name, deb.version, deb.architecture): name for name, deb in stays.items()}
        found = self._find(wanted)
        if gone := sorted(wanted[one] for one in wanted if one not in found):
            raise BadInput(
                f"Debian's index has the locked version of {', '.join(gone)} no more, so it must move too",
                f"run: ./esb lock --update debian (or name what shall move, with {' '.join(gone)})",
            )
        pins = (
            f"Package: {name}\nPin: version {deb.version}\nPin-Priority: 1001\n"
            for name, deb in stays.items()
        )
        (self._folder / "preferences").write_text("\n".join(pins))

    def has(self, name: str, status: str) -> None:
        """What a step that is not solved here has installed, as dpkg's status file."""
        self._installed[name] = status.rstrip("\n") + "\n\n"

    def step(self, name: str, asked: Sequence[str], parent: str) -> Step:
        """What apt installs for ``asked`` on top of what ``parent`` has."""
        below = self._installed.get(parent, "")
        (self._folder / "status").write_text(below)
        chosen = index.solution(self._apt("-s", "--no-install-recommends", "install", *asked))
        found = self._find(chosen)
        if missing := [one.name for one in chosen if one not in found]:
            raise Broken(f"apt chose {', '.join(missing)}, which stands in no index that it was given")
        self._installed[name] = below + index.installed(found[one].stanza for one in chosen)
        return Step(tuple(asked), {one.name: found[one].deb for one in chosen})

    def _find(self, chosen: Iterable[index.Chosen]) -> dict[index.Chosen, index.Entry]:
        wanted = set(chosen)
        found: dict[index.Chosen, index.Entry] = {}
        for suite, packages in self._packages.items():
            found = index.find(packages, suite, wanted) | found
        return found

    def _apt(self, *arguments: str) -> str:
        return run.run(("apt-get", "-q", *arguments), environ=self._environ).stdout


def _unpacked(path: Path) -> str:
    with lzma.open(path, "rt", encoding="utf-8", errors="replace") as content:
        return content.read(_MOST_PACKAGES)
