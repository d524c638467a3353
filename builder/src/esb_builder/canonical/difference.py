"""What an image changes of the tree that it stands on: the members of its own layers.

Pure; contents are compared only where everything else is equal and they do not lie in the same place. A
removed path becomes one whiteout, the topmost; nothing is ever marked opaque. A path whose kind
changes needs no whiteout: what replaces a folder replaces what was in it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from esb_builder import oci
from esb_builder.archive import WHITEOUT, Node
from esb_builder.canonical.tape import Item

Same = Callable[[Item, Item], bool]
"""Whether two files' contents are equal."""


def difference(below: Mapping[str, Item], image: Mapping[str, Item], same: Same) -> Iterator[Item]:
    """The items to write over ``below`` so that ``image`` comes out, in no particular order."""
    for path, item in image.items():
        before = below.get(path)
        if before is None or not _equal(before, item, same):
            yield item
    for path in below:
        if path not in image and _is_folder(image, posixpath.dirname(path)):
            yield whiteout(path)


def whiteout(path: str) -> Item:
    """The member that removes ``path`` of lower layers."""
    folder, name = posixpath.split(path)
    return Item(posixpath.join(folder, WHITEOUT + name), mode=0, mtime=oci.INSTANT)


def _is_folder(image: Mapping[str, Item], path: str) -> bool:
    return not path or (path in image and image[path].kind == "directory")


def _equal(one: Item, other: Item, same: Same) -> bool:
    if replace(one, content=b"") != replace(other, content=b"") or one.size != other.size:
        return False
    return one.kind != "file" or _place(one) == _place(other) or same(one, other)


def _place(item: Item) -> object:
    if isinstance(item.content, Node):
        return item.content.layer, item.content.offset
    return item.content
