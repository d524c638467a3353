"""Function images: from archives in a folder to read-only roots that workers share.

An archive is unpacked once, into snapshots named by their content, and then shown through one read-only
view that is the root of all workers of that image. Bytes stream from the archive through containerd's
content store a chunk at a time; memory does not grow with the image. What is there already is not unpacked
again.

A replaced archive is noticed when the next worker is started; that worker waits for the import. Running
workers keep the root they have, and what nobody needs any more is removed with its last worker. An archive
that cannot be read is an error in the log, and the image in use stays: a bad file dropped into the folder
stops nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from esb_common import ids
from esb_common.errors import BadInput
from esb_common.log import Log

from esb_node.core.ports import StartRefused
from esb_node.drivers.containerd.archive import Image, Layer, chain_ids, layer_chunks, read_archive
from esb_node.drivers.containerd.client import CallFailed, Code, Containerd, Mount
from esb_node.drivers.containerd.mount_points import mount_points_layer

IMAGES = {"python3.12": "esb-lambda-python"}
"""Lambda runtimes and the images (archives ``<image>.tar``) that run them."""

_NOT_THE_ARCHIVES_FAULT = (
    Code.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED,
    Code.CANCELLED,
    Code.INTERNAL,
    Code.RESOURCE_EXHAUSTED,
)

_TAR = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Root:
    """A root that workers share. ``chain`` names its snapshots, the base first; ``view`` shows the last."""

    image: ids.Digest
    chain: tuple[str, ...]
    view: str
    mounts: Sequence[Mount]


@dataclass(frozen=True, slots=True)
class _Current:
    """The root for new workers, and the archive it came from as ``stat`` knows it (inode, size, time)."""

    archive: tuple[int, int, int]
    root: Root


class Images:
    """The roots of one node, by Lambda runtime. Every root taken is given back."""

    def __init__(self, containerd: Containerd, folder: Path, log: Log) -> None:
        self._containerd = containerd
        self._folder = folder
        self._log = log
        self._current: dict[str, _Current] = {}
        self._users: Counter[str] = Counter()
        self._taken: dict[str, Root] = {}
        self._lock = asyncio.Lock()
        self._pruning: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Import what stands in the folder and remove what an earlier node left and nobody needs."""
        await self._containerd.drop_leases()
        async with self._lock:
            for image in IMAGES.values():
                archive = _stat(self._archive(image))
                if archive is None:
                    self._log.warning(
                        "no image", image=image, hint=f"write it with `esb build`: {self._archive(image)}"
                    )
                else:
                    with contextlib.suppress(BadInput):  # logged; each start tries again and says why not
                        await self._refresh(image, archive)
            await self._prune()

    async def close(self) -> None:
        await asyncio.gather(*self._pruning)

    async def take(self, runtime: str) -> Root:
        """The root for a new worker of ``runtime``; StartRefused where there is none."""
        image = IMAGES.get(runtime)
        if image is None:
            raise StartRefused("UnsupportedRuntime", f"no image runs {runtime}; known: {', '.join(IMAGES)}")
        archive = _stat(self._archive(image))
        if archive is None:
            raise StartRefused(
                "UnsupportedRuntime",
                f"the image for {runtime} is not here: {image}.tar; write it with `esb build`",
            )
        current = self._current.get(image)
        if current is None or current.archive != archive:
            async with self._lock:
                current = await self._refreshed(image, archive)
        self._users[current.root.view] += 1
        self._taken[current.root.view] = current.root
        return current.root

    def give_back(self, root: Root) -> None:
        """A worker on ``root`` is gone."""
        self._users[root.view] -= 1
        if self._users[root.view]:
            return
        del self._users[root.view], self._taken[root.view]
        if root.view not in {current.root.view for current in self._current.values()}:
            self._prune_soon()

    def _archive(self, image: str) -> Path:
        return self._folder / f"{image}.tar"

    async def _refreshed(self, image: str, archive: tuple[int, int, int]) -> _Current:
        """:meth:`_refresh` for a worker that waits for it."""
        try:
            return await self._refresh(image, archive)
        except BadInput as error:
            raise StartRefused("StartFailed", f"image {image}: {error.fact}") from None

    async def _refresh(self, image: str, archive: tuple[int, int, int]) -> _Current:
        """Make the archive's image current (under the lock; somebody may have done it meanwhile).

        BadInput where there is none to keep; it is tried again for the next worker.
        """
        before = self._current.get(image)
        if before is not None and before.archive == archive:
            return before
        try:
            now = _Current(archive, await self._import(image))
        except BadInput as error:
            self._log.error("image refused", image=image, fact=error.fact, kept=before is not None)
            if before is None:
                raise
            now = replace(before, archive=archive)
        self._current[image] = now
        if before is not None and before.root.view != now.root.view and not self._users[before.root.view]:
            self._prune_soon()
        return now

    async def _import(self, name: str) -> Root:
        begun = time.monotonic()
        with self._archive(name).open("rb") as file:
            image = await asyncio.to_thread(read_archive, file)
            points = mount_points_layer()
            chain = chain_ids([*(layer.diff_id for layer in image.layers), ids.digest_of(points)])
            unpacked = await self._unpack_missing(name, image, points, chain, file)
        view = "root-" + chain[-1].removeprefix("sha256:")
        mounts = await self._containerd.view(view, chain[-1])
        seconds = round(time.monotonic() - begun, 2)
        self._log.info("image ready", image=name, id=image.config, unpacked=unpacked, seconds=seconds)
        return Root(image.config, tuple(chain), view, mounts)

    async def _unpack_missing(
        self, name: str, image: Image, points: bytes, chain: Sequence[str], file: BinaryIO
    ) -> int:
        """Unpack what is not there yet, lowest first; how many layers that were."""
        there = await self._containerd.snapshots()
        if chain[-1] in there:
            return 0
        steps = list(self._missing(image, points, chain, file, there))
        async with self._containerd.lease() as lease:
            for step, (layer, chunks, parent, result) in enumerate(steps, 1):
                await self._unpack(layer, chunks, parent, result, lease)
                self._log.info("layer unpacked", image=name, step=f"{step}/{len(steps)}", bytes=layer.size)
        return len(steps)

    @staticmethod
    def _missing(
        image: Image, points: bytes, chain: Sequence[str], file: BinaryIO, there: dict[str, str]
    ) -> Iterator[tuple[Layer, Iterator[bytes], str, str]]:
        """Layer, its bytes, the snapshot below it and the one that it makes."""
        own = ids.digest_of(points)
        last = Layer(own, own, _TAR, 0, len(points))
        parents = ["", *chain[:-1]]
        for layer, parent, result in zip((*image.layers, last), parents, chain, strict=True):
            if result not in there:
                chunks = iter([points]) if layer is last else layer_chunks(file, layer)
                yield layer, chunks, parent, result

    async def _unpack(
        self, layer: Layer, chunks: Iterator[bytes], parent: str, result: str, lease: str
    ) -> None:
        key = f"unpack-{secrets.token_hex(8)}"
        try:
            await self._containerd.write(layer.digest, layer.size, _read_aside(chunks), lease)
            mounts = await self._containerd.prepare(key, parent, lease)
            applied = await self._containerd.apply(layer.media_type, layer.digest, layer.size, mounts, lease)
            if applied != layer.diff_id:
                raise BadInput(f"image archive: {layer.digest} unpacks to {applied}, not to {layer.diff_id}")
            await self._containerd.commit(key, result, lease)
        except CallFailed as failure:
            if failure.code in _NOT_THE_ARCHIVES_FAULT:
                raise
            raise BadInput(f"image archive: layer {layer.digest}: {failure.fact}") from None
        finally:
            await self._containerd.remove_snapshot(key)  # gone already where it became ``result``

    def _prune_soon(self) -> None:
        task = asyncio.create_task(self._prune_locked())
        self._pruning.add(task)
        task.add_done_callback(self._pruning.discard)

    async def _prune_locked(self) -> None:
        async with self._lock:
            try:
                await self._prune()
            except CallFailed as failure:
                self._log.warning("old image not removed; the next node's start will", fact=failure.fact)

    async def _prune(self) -> None:
        """Remove every snapshot that no current or taken root consists of, those on top first."""
        roots = [*self._taken.values(), *(current.root for current in self._current.values())]
        wanted = {name for root in roots for name in (*root.chain, root.view)}
        unwanted = {
            name: parent
            for name, parent in (await self._containerd.snapshots()).items()
            if name not in wanted
        }
        for name in top_first(unwanted):
            await self._containerd.remove_snapshot(name)
        if unwanted:
            self._log.info("old snapshots removed", count=len(unwanted))


def top_first(parents: dict[str, str]) -> Iterator[str]:
    """The names of ``parents`` (each with its parent's name) so that none comes before what stands on it."""
    left = dict(parents)
    while left:
        bearing = set(left.values())
        tops = [name for name in left if name not in bearing]
        for name in tops:
            del left[name]
        yield from tops


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


async def _read_aside(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, each read in a thread, so that a slow disk does not hold up other workers' starts."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
