"""The reader under attack: whatever comes, it reads an image or says BadInput, soon and in little memory."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from esb_builder.archive import MOST_HEADER, Archive
from esb_builder.canonical import tape
from esb_builder.canonical.tape import Item
from esb_common.errors import BadInput
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_archives import Layout

MOST_MEMORY = 32 << 20
BLOCK = 512

ATTACK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where archives are written; the working directory is another one and must stay empty."""
    (tmp_path / "here").mkdir()
    (tmp_path / "archives").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "archives"
    assert list((tmp_path / "here").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"here", "archives"}


def survives(archive: Path) -> BadInput | None:
    """Read all of an archive; the refusal, if it was refused."""
    tracemalloc.start()
    try:
        with Archive(archive) as opened:
            for image in opened.images():
                tree = image.tree()
                for node in tree.nodes.values():
                    if node.kind == "file":
                        tree.open(node).read(100)
    except BadInput as refused:
        return refused
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < MOST_MEMORY
    return None


def whole() -> bytes:
    """A good archive with something of everything."""
    items = [
        Item("d", "directory", 0o755),
        Item("d/file", content=b"content" * 100, uid=3_000_000, capability=b"\x01\x02"),
        Item("d/link", "hardlink", target="d/file"),
        Item("d/.wh.gone"),
        Item("n" * 120, "symlink", target="ü"),
    ]
    return packed(layer(items))


def layer(items: list[Item]) -> bytes:
    out = io.BytesIO()
    tape.write(out, items)
    return out.getvalue()


def packed(*layers: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in Layout(*layers).members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def header(**fields: bytes) -> bytes:
    """A ustar header with fields overwritten and a right checksum."""
    block = bytearray(tape.header(Item("name")))
    places = {"name": 0, "mode": 100, "uid": 108, "gid": 116, "size": 124, "mtime": 136, "type": 156}
    for name, value in fields.items():
        block[places[name] : places[name] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def record(text: bytes) -> bytes:
    """A PAX header block with this content, its size told truly."""
    return header(type=b"x", size=b"%011o\0" % len(text)) + text + bytes(-len(text) % BLOCK)


def pax(name: str, value: str) -> bytes:
    text = f" {name}={value}\n".encode()
    return record(b"%d%s" % (len(text) + 2, text))


END = bytes(1024)
NEGATIVE = b"\xff" * 12
HUGE = b"77777777777\0"


def test_a_good_archive_is_read(place: Path) -> None:
    (place / "good.tar").write_bytes(whole())
    assert survives(place / "good.tar") is None


@ATTACK
@given(data=st.data())
def test_damage_anywhere_is_survived(place: Path, data: st.DataObject) -> None:
    content = bytearray(whole())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        what = data.draw(st.sampled_from(["flip", "cut", "insert", "zero"]))
        if what == "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "cut":
            del content[at : at + data.draw(st.sampled_from([1, 512, 5000]))]
        elif what == "insert":
            content[at:at] = data.draw(st.binary(max_size=600))
        else:
            content[at : at + 512] = bytes(len(content[at : at + 512]))
        if not content:
            break
    (place / "bad.tar").write_bytes(content)
    survives(place / "bad.tar")


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.binary(max_size=100),
        "size": st.sampled_from([NEGATIVE, HUGE, b"\x80" + b"\xff" * 11, b"00000000010\0", b"-1"]),
        "uid": st.binary(min_size=8, max_size=8),
        "mtime": st.binary(min_size=12, max_size=12),
        "type": st.sampled_from([bytes((one,)) for one in b"01234567xgLKSDNV\0"]),
    },
)
BLOCKS = st.lists(
    FIELDS.map(lambda fields: header(**fields))
    | st.binary(min_size=BLOCK, max_size=BLOCK)
    | st.builds(
        pax,
        st.sampled_from(
            ["path", "linkpath", "size", "uid", "mtime", "GNU.sparse.major", "GNU.sparse.map", "hdrcharset"]
        ),
        st.sampled_from(["-1", "inf", "nan", "1e400", "../../x", "BINARY", "1", "9" * 30, "1,2,3"]),
    ),
    max_size=8,
)


@ATTACK
@given(blocks=BLOCKS)
def test_a_layer_of_crooked_headers_under_a_right_digest_is_survived(
    place: Path, blocks: list[bytes]
) -> None:
    (place / "bad.tar").write_bytes(packed(b"".join(blocks) + END))
    survives(place / "bad.tar")


@ATTACK
@given(blocks=BLOCKS)
def test_an_archive_of_crooked_headers_is_survived(place: Path, blocks: list[bytes]) -> None:
    (place / "bad.tar").write_bytes(b"".join(blocks) + END)
    survives(place / "bad.tar")


@pytest.mark.parametrize(
    "crooked",
    [
        pytest.param(header(size=NEGATIVE), id="a negative size, that would be read for ever"),
        pytest.param(header(type=b"x", size=NEGATIVE), id="a negative extended header"),
        pytest.param(pax("size", "-512") + header(), id="a negative size in an extended header"),
        pytest.param(record(b"1" * 60) * 2000 + header(), id="a chain of extended headers"),
        pytest.param(record(b"x" * (MOST_HEADER + 1)) + header(), id="an extended header of any size"),
        pytest.param(
            header(type=b"L", size=b"%011o\0" % (1 << 20)) + bytes(1 << 20), id="a name of a megabyte"
        ),
        pytest.param(header(type=b"S"), id="a sparse file"),
        pytest.param(pax("mtime", "nan") + header(), id="a time that is no number"),
        pytest.param(header(name=b"../../outside"), id="a name that leads outside"),
        pytest.param(header(size=HUGE), id="a size beyond the end"),
        pytest.param(header(type=b"1"), id="a hard link to nothing"),
        pytest.param(header() + b"\x01" * BLOCK, id="rubbish after a member"),
    ],
)
def test_a_crooked_layer_is_refused_with_a_reason(place: Path, crooked: bytes) -> None:
    (place / "bad.tar").write_bytes(packed(crooked + END))
    refused = survives(place / "bad.tar")
    assert refused is not None
    assert "layer sha256:" in refused.fact


def test_a_time_without_end_is_only_late(place: Path) -> None:
    (place / "late.tar").write_bytes(packed(pax("mtime", "inf") + header() + END))
    assert survives(place / "late.tar") is None


def test_contents_are_never_held_in_memory(place: Path) -> None:
    """64 MiB in one file, twice: in the layer and, by hashing, in the archive."""
    size = 64 << 20
    content = header(size=b"%011o\0" % size) + bytes(size) + END
    (place / "large.tar").write_bytes(packed(content))
    assert sha256(content).hexdigest() in (place / "large.tar").read_bytes().decode("latin-1")
    assert survives(place / "large.tar") is None
