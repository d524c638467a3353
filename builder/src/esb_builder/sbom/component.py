"""One thing that an image is made of, whatever brought it there, and how it is named for other tools.

A package URL is a component's identity: two places that hold the same version of a thing are one
component with two places. https://github.com/package-url/purl-spec
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

from esb_common.ids import Digest

Kind = Literal["library", "application", "operating-system"]
ESB = "ESB"
NO_LAYER = Digest("")


@dataclass(frozen=True, slots=True)
class Component:
    """``licence`` is an SPDX expression, empty where the thing does not say one that can be read.

    ``sha256`` is of the file that it came as (a .deb, a wheel, a program), empty where that is not known.
    ``places`` are the files of the image that show it, ``layer`` holds the first of them; ``needs``
    are the package URLs of what it depends on.
    """

    purl: str
    name: str
    version: str
    kind: Kind = "library"
    licence: str = ""
    supplier: str = ""
    sha256: str = ""
    source: str = ""
    places: tuple[str, ...] = ()
    layer: Digest = NO_LAYER
    needs: tuple[str, ...] = ()


def purl(kind: str, name: str, version: str, **qualifiers: str) -> str:
    """A package URL; ``kind`` may carry a namespace (``deb/debian``)."""
    asked = "&".join(f"{key}={_quoted(value)}" for key, value in sorted(qualifiers.items()) if value)
    at = f"@{_quoted(version)}" if version else ""
    return f"pkg:{kind}/{_quoted(name)}{at}" + (f"?{asked}" if asked else "")


def merged(components: Iterable[Component]) -> tuple[Component, ...]:
    """Each component once, by package URL, with all its places and needs."""
    found: dict[str, Component] = {}
    for one in components:
        if (known := found.get(one.purl)) is not None:
            places = tuple(dict.fromkeys((*known.places, *one.places)))
            one = replace(known, places=places, needs=tuple(sorted({*known.needs, *one.needs})))
        found[one.purl] = one
    return tuple(found[name] for name in sorted(found))


def _quoted(text: str) -> str:
    return quote(text, safe=".-_~:")
