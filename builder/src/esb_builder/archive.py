"""Reads saved images (``docker save``, an OCI layout in a tar or in a folder); unpacks and runs nothing.

Every blob that is used is held against its digest and every layer against its diffID, so what
is judged is what an engine would run. Memory grows with the number of files, never with
their size: contents stay in the archive and are read by offset, and names and headers have
limits. A compressed layer is first expanded into a temporary file. Anything malformed is
BadInput; no name in an archive becomes a path on this machine.

An image's id is its configuration's digest. Formats:
https://github.com/opencontainers/image-spec (``image-layout.md``, ``layer.md`` for whiteouts).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, cast

from esb_common.errors import BadInput
from esb_common.ids import Digest, digest

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MOST_JSON = 4 << 20
MOST_LAYER = 8 << 30
"""Bytes: no index, manifest or configuration, and no expanded layer, may be larger."""

MOST_HEADER = 1 << 16
"""Bytes: Linux's names end at 4096 and extended attributes at 65536, so no honest header is larger."""

LATEST = 1 << 62
"""No file's time, in seconds, is later: a header may say infinity."""

MOST_MEMBERS = 1_000_000
"""Members that one tar may have: a full Debian desktop has a third of it."""

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
CAPABILITY = "SCHILY.xattr.security.capability"
"""The PAX record in which tars carry a file's capabilities."""

_CHUNK = 1 << 20
_LINKS = 40

Kind = Literal["file", "directory", "symlink", "other"]


class Window:
    """A part of a seekable file, itself readable and seekable (what ``tarfile`` and ``elftools`` need)."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._file.seek(self._start + self._at)
        content = self._file.read(left if size < 0 else min(size, left))
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True


class _Headers:
    """A tar as ``tarfile`` may see it: nothing is read in one piece that is larger than a header may be."""

    def __init__(self, file: IO[bytes] | Window) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        return self._file.read(size)


@dataclass(frozen=True, slots=True)
class Node:
    """One file of an image. ``target`` is a symlink's; ``layer`` and ``offset`` are the content's place.

    ``mtime`` is in seconds and takes no part in comparisons; ``capability`` is the extended
    attribute ``security.capability``. Hard links to one file are equal in ``layer`` and ``offset``.
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""
    layer: Digest = field(default=Digest(""))
    offset: int = 0
    mtime: int = field(default=0, compare=False)
    capability: bytes = b""


@dataclass(frozen=True, slots=True)
class Change:
    """One member of a layer: a node, a hard link to another path, a whiteout or an opaque mark."""

    path: str
    node: Node | None
    linked: str = ""
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's diffID and its members in their order."""

    diff_id: Digest
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """One image of an archive: its names, id, configuration document, and layers, lowest first."""

    names: tuple[str, ...]
    id: Digest
    config: Mapping[str, Any]
    layers: tuple[Layer, ...]
    archive: Archive = field(repr=False, compare=False)

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        return tuple(layer.diff_id for layer in self.layers)

    def tree(self) -> Tree:
        """The file tree that a container would see."""
        return Tree(self.archive, merge(self.layers))


class Tree:
    """A merged file tree. Paths have no leading slash; the root itself is not listed."""

    def __init__(self, archive: Archive, nodes: dict[str, Node]) -> None:
        self.nodes: Mapping[str, Node] = nodes
        self._archive = archive

    def real(self, path: str) -> str | None:
        """``path`` with every symlink in it followed, inside the image; None where it leads nowhere."""
        return _followed(self.nodes, path.strip("/"), _LINKS)

    def get(self, path: str) -> Node | None:
        """The node at ``path``, symlinks followed."""
        real = self.real(path)
        return None if real is None else self.nodes.get(real)

    def read(self, path: str, most: int = MOST_JSON) -> bytes | None:
        """Up to ``most`` bytes of the file at ``path``, symlinks followed; None where there is none."""
        node = self.get(path)
        return self._archive.content(node).read(most) if node and node.kind == "file" else None

    def open(self, node: Node) -> Window:
        """A file's content."""
        return self._archive.content(node)

    def once[T](self, node: Node, look: Callable[[Window], T]) -> T:
        """What ``look`` says of a file's content, asked once for each content of the archive."""
        return self._archive.once(node, look)

    def below(self, path: str) -> Iterator[tuple[str, Node]]:
        """Everything below a folder, by path."""
        start = path.strip("/") + "/"
        return ((name, node) for name, node in sorted(self.nodes.items()) if name.startswith(start))


def _followed(nodes: Mapping[str, Node], path: str, links: int) -> str | None:
    done = ""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    while parts:
        part = parts.pop(0)
        if part == "..":
            done = posixpath.dirname(done)
            continue
        here = f"{done}/{part}" if done else part
        node = nodes.get(here)
        if node is None:
            return None
        if node.kind == "symlink":
            links -= 1
            if links < 0:
                return None
            parts = [one for one in node.target.split("/") if one not in ("", ".")] + parts
            done = "" if node.target.startswith("/") else done
        else:
            done = here
    return done


def merge(layers: Sequence[Layer]) -> dict[str, Node]:
    """The tree that ``layers`` make, lowest first: whiteouts remove only what lies below."""
    tree: dict[str, Node] = {}
    for layer in layers:
        for change in layer.changes:
            if change.node is None and not change.linked:
                _remove(tree, change.path, keep_itself=change.opaque)
        for change in layer.changes:
            if change.linked:
                _put(tree, change.path, _link(tree, layer, change))
            elif change.node is not None:
                _put(tree, change.path, change.node)
    return tree


def _put(tree: dict[str, Node], path: str, node: Node) -> None:
    before = tree.get(path)
    if before and before.kind == "directory" and node.kind != "directory":
        _remove(tree, path, keep_itself=False)
    parent = posixpath.dirname(path)
    while parent and parent not in tree:  # a layer need not list the folders that it only passes through
        tree[parent] = Node("directory", 0o755, 0, 0)
        parent = posixpath.dirname(parent)
    tree[path] = node


def _link(tree: Mapping[str, Node], layer: Layer, change: Change) -> Node:
    node = tree.get(change.linked)
    if node is None:
        raise BadInput(f"layer {layer.diff_id}: {change.path} is a hard link to nothing ({change.linked})")
    return node


def _remove(tree: dict[str, Node], path: str, *, keep_itself: bool) -> None:
    start = f"{path}/" if path else ""
    for name in [name for name in tree if name.startswith(start)]:
        del tree[name]
    if not keep_itself:
        tree.pop(path, None)


Place = tuple[IO[bytes], int, int]
"""An open file, and where in it something begins and how long it is."""


class Archive:
    """An open archive, or an OCI layout's folder; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self._layers: dict[Digest, Place] = {}
        self._parsed: dict[Digest, Layer] = {}
        self._looked: dict[object, object] = {}
        try:
            self._members = self._opened(path)
        except OSError as error:
            self._stack.close()
            raise BadInput(f"{path}: {error.strerror}") from None
        except (tarfile.TarError, ValueError, EOFError) as error:
            self._stack.close()
            raise BadInput(f"{path} is not an image archive: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _opened(self, path: Path) -> dict[str, Place]:
        if not path.is_dir():
            return _members(self._stack.enter_context(path.open("rb")))
        found: dict[str, Place] = {}
        for below in (path / "index.json", *sorted(path.glob("blobs/*/*"))):
            file = self._stack.enter_context(below.open("rb"))
            found[str(below.relative_to(path))] = (file, 0, below.stat().st_size)
        return found

    def images(self) -> list[Image]:
        """Every image for this archive's platform, once, with all its names."""
        found: dict[Digest, list[str]] = {}
        for entry in self._manifests(self._document("index.json")):
            manifest = self._manifest(entry)
            name = self._member(entry, "annotations", dict, {}).get("io.containerd.image.name", "")
            names = found.setdefault(_digest_in(self.path, manifest.get("config")), [])
            names += [name] if name else []
        return [self._image(self._of_config(config), tuple(names)) for config, names in found.items()]

    def ids(self) -> list[Digest]:
        """The ids of all images, without looking into layers."""
        entries = self._manifests(self._document("index.json"))
        return [_digest_in(self.path, self._manifest(entry).get("config")) for entry in entries]

    def content(self, node: Node) -> Window:
        """A file's content, as a window on the archive."""
        file, start, _ = self._layers[node.layer]
        return Window(file, start + node.offset, node.size)

    def once[T](self, node: Node, look: Callable[[Window], T]) -> T:
        """See :meth:`Tree.once`."""
        place = (look, node.layer, node.offset)
        if place not in self._looked:
            self._looked[place] = look(self.content(node))
        return cast("T", self._looked[place])

    def _manifests(self, index: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        for entry in self._member(index, "manifests", list, None):
            if not isinstance(entry, dict):
                raise BadInput(f"{self.path}: an entry of the index is not an object")
            if entry.get("mediaType") in INDEXES:
                inner = self._manifests(self._blob_document(_digest_in(self.path, entry)))
                outer = entry.get("annotations", {})
                yield from ({**one, "annotations": {**outer, **one.get("annotations", {})}} for one in inner)
            elif "vnd.docker.reference.type" not in entry.get("annotations", {}):
                yield entry

    def _manifest(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._blob_document(_digest_in(self.path, entry))

    def _of_config(self, config: Digest) -> Mapping[str, Any]:
        for entry in self._manifests(self._document("index.json")):
            manifest = self._manifest(entry)
            if _digest_in(self.path, manifest.get("config")) == config:
                return manifest
        raise BadInput(f"{self.path}: no manifest for {config}")

    def _image(self, manifest: Mapping[str, Any], names: tuple[str, ...]) -> Image:
        config_digest = _digest_in(self.path, manifest.get("config"))
        config = self._blob_document(config_digest)
        diff_ids = self._member(self._member(config, "rootfs", dict, None), "diff_ids", list, None)
        blobs = self._member(manifest, "layers", list, None)
        if len(diff_ids) != len(blobs):
            raise BadInput(f"{self.path}: {len(blobs)} layers but {len(diff_ids)} diffIDs")
        layers = tuple(
            self._layer(_digest_in(self.path, blob), _digest_in(self.path, {"digest": diff_id}))
            for blob, diff_id in zip(blobs, diff_ids, strict=True)
        )
        return Image(names, config_digest, config, layers, self)

    def _layer(self, blob: Digest, diff_id: Digest) -> Layer:
        if diff_id not in self._parsed:
            file, start, size = self._expanded(blob)
            actual = _digest_of(Window(file, start, size))
            if actual != diff_id:
                raise BadInput(
                    f"{self.path}: layer {blob} has diffID {actual}, the configuration says {diff_id}"
                )
            self._layers[diff_id] = (file, start, size)
            try:
                changes = tuple(_changes(Window(file, start, size), diff_id))
            except (tarfile.TarError, ValueError, EOFError) as error:
                raise BadInput(f"{self.path}: layer {diff_id} is malformed: {error}") from None
            self._parsed[diff_id] = Layer(diff_id, changes)
        return self._parsed[diff_id]

    def _expanded(self, blob: Digest) -> Place:
        place = self._where(blob)
        head = Window(*place).read(4)
        if head[:2] == b"\x1f\x8b":
            return self._gunzipped(blob, Window(*place))
        if head == b"\x28\xb5\x2f\xfd":
            raise BadInput(
                f"{self.path}: layer {blob} is compressed with zstd", "save it uncompressed or with gzip"
            )
        return place

    def _gunzipped(self, blob: Digest, compressed: Window) -> Place:
        out: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 the stack closes it
        try:
            with gzip.open(compressed) as expanded:
                while chunk := expanded.read(_CHUNK):
                    out.write(chunk)
                    if out.tell() > MOST_LAYER:
                        raise BadInput(
                            f"{self.path}: layer {blob} expands to more than {MOST_LAYER >> 30} GiB"
                        )
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{self.path}: layer {blob} cannot be expanded: {error}") from None
        return out, 0, out.tell()

    def _where(self, blob: Digest) -> Place:
        algorithm, _, value = blob.partition(":")
        place = self._members.get(f"blobs/{algorithm}/{value}")
        if place is None:
            raise BadInput(f"{self.path}: blob {blob} is missing")
        return place

    def _blob_document(self, blob: Digest) -> Mapping[str, Any]:
        content = self._read(self._where(blob))
        if Digest("sha256:" + hashlib.sha256(content).hexdigest()) != blob:
            raise BadInput(f"{self.path}: blob {blob} has other content than its name says")
        return self._parse(content)

    def _document(self, name: str) -> Mapping[str, Any]:
        if name not in self._members:
            raise BadInput(f"{self.path} is not an OCI image archive: it has no {name}")
        return self._parse(self._read(self._members[name]))

    def _read(self, place: Place) -> bytes:
        if place[2] > MOST_JSON:
            raise BadInput(f"{self.path}: a document of {place[2]} bytes is larger than any of its kind")
        return Window(*place).read()

    def _parse(self, content: bytes) -> Mapping[str, Any]:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{self.path}: a document is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise BadInput(f"{self.path}: a document is not a JSON object")
        return document

    def _member[T](self, document: Mapping[str, Any], name: str, kind: type[T], default: T | None) -> T:
        value = document.get(name, default)
        if not isinstance(value, kind):
            raise BadInput(f"{self.path}: {name} is missing or not a {kind.__name__}")
        return value


def image_id(path: Path) -> Digest | None:
    """The id of the one image in an archive, from index and manifest alone; None where there is not one."""
    with Archive(path) as archive:
        ids = set(archive.ids())
    return ids.pop() if len(ids) == 1 else None


def _digest_in(path: Path, descriptor: object) -> Digest:
    value = descriptor.get("digest") if isinstance(descriptor, dict) else None
    try:
        return digest(str(value))
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None


def _digest_of(content: Window) -> Digest:
    found = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        found.update(chunk)
    return Digest(f"sha256:{found.hexdigest()}")


def _members(file: IO[bytes]) -> dict[str, Place]:
    """Where each file of the outer tar lies, by name."""
    return {
        posixpath.normpath(member.name): (file, member.offset_data, member.size)
        for member in _headers(file)
        if member.isreg()
    }


def _changes(content: Window, layer: Digest) -> Iterator[Change]:
    if content.read(1) == b"":
        return
    content.seek(0)
    for member in _headers(content):
        path = _inside(member.name)
        if path:
            yield _change(path, member, layer)


def _headers(content: IO[bytes] | Window) -> Iterator[tarfile.TarInfo]:
    """The members of an uncompressed tar. ValueError where it is damaged or larger than any honest one.

    Names are UTF-8 whatever this machine's locale says.
    """
    limited = cast("IO[bytes]", _Headers(content))
    try:
        with tarfile.open(fileobj=limited, mode="r:", encoding="utf-8") as tar:
            for number, member in enumerate(tar):
                _refuse_member(number, member)
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header that it has read
                yield member
            _refuse_rest(content, tar.offset)
    except (RecursionError, OverflowError, KeyError, IndexError) as error:
        raise ValueError(f"headers that make no sense ({type(error).__name__})") from None


def _refuse_member(number: int, member: tarfile.TarInfo) -> None:
    if number == MOST_MEMBERS:
        raise ValueError(f"it has more than {MOST_MEMBERS} members")
    if member.size < 0 or member.uid < 0 or member.gid < 0:
        raise ValueError(f"a negative number in the header of {member.name!r}")
    if member.issparse():
        raise ValueError(f"{member.name!r} is a sparse file")


def _refuse_rest(content: IO[bytes] | Window, end: int) -> None:
    """ValueError where anything but zero bytes follows: ``tarfile`` ends quietly at a damaged header."""
    content.seek(end)
    while chunk := content.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise ValueError(f"damaged near byte {end}")


def _change(path: str, member: tarfile.TarInfo, layer: Digest) -> Change:
    folder, name = posixpath.split(path)
    if name == OPAQUE:
        return Change(folder, None, opaque=True)
    if name.startswith(WHITEOUT):
        return Change(posixpath.join(folder, name.removeprefix(WHITEOUT)), None)
    if member.islnk():
        return Change(path, None, linked=_linked(member))
    return Change(path, _node(member, layer))


def _linked(member: tarfile.TarInfo) -> str:
    if target := _inside(member.linkname):
        return target
    raise ValueError(f"{member.name!r} is a hard link to nothing")


def _node(member: tarfile.TarInfo, layer: Digest) -> Node:
    kinds: tuple[tuple[bool, Kind], ...] = (
        (member.isreg(), "file"),
        (member.isdir(), "directory"),
        (member.issym(), "symlink"),
    )
    kind: Kind = next((kind for holds, kind in kinds if holds), "other")
    size = member.size if kind == "file" else 0
    return Node(
        kind,
        member.mode & 0o7777,
        member.uid,
        member.gid,
        size,
        member.linkname,
        layer,
        member.offset_data,
        int(min(max(member.mtime, 0), LATEST)),
        member.pax_headers.get(CAPABILITY, "").encode("utf-8", "surrogateescape"),
    )


def _inside(name: str) -> str:
    """A member's name as a path inside the image; ValueError where it points out of it."""
    path = posixpath.normpath(name.lstrip("/"))
    if path == ".." or path.startswith("../") or "\0" in path:
        raise ValueError(f"a name leads outside: {name!r}")
    return "" if path == "." else path
