"""SHA-256 of the files that components came as, where the lock knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from esb_builder.lock.model import Lock

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pins:
    """By name and version."""

    debs: Mapping[Key, str] = field(default_factory=dict)
    wheels: Mapping[Key, str] = field(default_factory=dict)
    pythons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, lock: Lock | None) -> Pins:
        """What a lock pins; nothing where there is none."""
        if lock is None:
            return cls()
        debs = {
            (name, deb.version): deb.sha256
            for step in lock.steps.values()
            for name, deb in step.packages.items()
        }
        wheels = {
            (normal(name), pin.version): pin.sha256
            for one in lock.wheels.values()
            for name, pin in one.wheels.items()
        }
        return cls(debs, wheels, {lock.python.version: lock.python.sha256} if lock.python else {})

    def deb(self, name: str, version: str) -> str:
        """A package's; empty where it is not known."""
        return self.debs.get((name, version), "")

    def wheel(self, name: str, version: str) -> str:
        """A Python distribution's, by any spelling of its name; empty where it is not known."""
        return self.wheels.get((normal(name), version), "")

    def python(self, version: str) -> str:
        """CPython's packed prefix; empty where it is not known."""
        return self.pythons.get(version, "")


def normal(name: str) -> str:
    """A distribution's name as the package index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
