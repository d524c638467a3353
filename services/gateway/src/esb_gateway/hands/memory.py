"""State and store in memory: the in-memory halves of the contract suites, and all that tests need."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence

from esb_common.ids import Digest, FunctionName, digest_of

from esb_gateway.core.function import Deployed, Function, deployed


class Index:
    """Functions by name, in order, with a count of who refers to which blob.

    Every implementation of the state answers questions from one of these.
    Memory: about 3 KB a function.
    """

    def __init__(self, functions: Iterable[Function] = ()) -> None:
        self._functions: dict[FunctionName, Deployed] = {}
        self._names: list[FunctionName] = []
        self._references: Counter[Digest] = Counter()
        for function in functions:
            self.put(deployed(function))

    def find(self, name: FunctionName) -> Deployed | None:
        return self._functions.get(name)

    def page(self, after: str, limit: int) -> Sequence[Function]:
        begin = bisect_right(self._names, after)
        return [self._functions[name].function for name in self._names[begin : begin + limit]]

    def count(self) -> int:
        return len(self._names)

    def refers_to(self, blob: Digest) -> bool:
        return self._references[blob] > 0

    def put(self, new: Deployed) -> None:
        """Set what its name means."""
        if new.function.name in self._functions:
            self._forget(new.function.name)
        else:
            insort(self._names, new.function.name)
        self._functions[new.function.name] = new
        self._references.update((new.blob, new.function.code))

    def remove(self, name: FunctionName) -> None:
        """Forget the name, where it is known."""
        if name in self._functions:
            self._forget(name)
            del self._names[bisect_right(self._names, name) - 1]

    def _forget(self, name: FunctionName) -> None:
        old = self._functions.pop(name)
        for blob in (old.blob, old.function.code):
            self._references[blob] -= 1
            if not self._references[blob]:
                del self._references[blob]


class MemoryState:
    """A state that ends with its process."""

    def __init__(self) -> None:
        self._index = Index()
        self.find = self._index.find
        self.page = self._index.page
        self.count = self._index.count
        self.refers_to = self._index.refers_to

    async def save(self, function: Function) -> Deployed:
        new = deployed(function)
        self._index.put(new)
        return new

    async def remove(self, name: FunctionName) -> None:
        self._index.remove(name)

    async def close(self) -> None:
        """Nothing is held."""


class MemoryStore:
    """A store that ends with its process."""

    def __init__(self) -> None:
        self._contents: dict[Digest, bytes] = {}

    async def put(self, content: bytes) -> Digest:
        name = digest_of(content)
        self._contents[name] = content
        return name

    async def remove(self, name: Digest) -> None:
        self._contents.pop(name, None)

    async def names(self) -> Sequence[Digest]:
        return list(self._contents)

    async def size(self, name: Digest) -> int | None:
        content = self._contents.get(name)
        return None if content is None else len(content)

    async def read(self, name: Digest, offset: int, length: int) -> bytes:
        if name not in self._contents:
            raise FileNotFoundError(name)
        return self._contents[name][offset : offset + length]
