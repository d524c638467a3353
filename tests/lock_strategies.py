"""Locks of every shape, for property tests; :data:`few` keeps those within seconds."""

from __future__ import annotations

from esb_builder.lock.model import Archive, Artefact, Deb, Image, Lock, Pin, Step, WheelSet
from esb_builder.store import Blob
from hypothesis import settings
from hypothesis import strategies as st

few = settings(max_examples=30, deadline=None)

NAME = st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,8}", fullmatch=True)
VERSION = st.from_regex(r"[0-9][0-9A-Za-z.+:~-]{0,5}", fullmatch=True)
PATH = st.lists(st.from_regex(r"[a-z][A-Za-z0-9_.~%+:-]{0,6}", fullmatch=True), min_size=1, max_size=4).map(
    "/".join
)
HEX = st.integers(0, 2**256 - 1).map("{:064x}".format)
SIZE = st.integers(0, 1 << 40)
BLOB = st.builds(Blob, HEX, SIZE)
ARCHITECTURE = st.sampled_from(("amd64", "arm64"))
DATE = st.datetimes().map(lambda one: f"{one:%Y-%m-%dT%H:%M:%S}Z".rjust(20, "0"))

PIN = st.builds(Pin, VERSION, HEX, SIZE, PATH)
DEB = st.builds(
    Deb,
    VERSION,
    st.sampled_from(("amd64", "all")),
    st.sampled_from(("bookworm", "bookworm-security")),
    HEX,
    SIZE,
    PATH,
)
STEP = st.builds(Step, st.lists(NAME, max_size=3).map(tuple), st.dictionaries(NAME, DEB, max_size=4))
WHEELS = st.builds(WheelSet, PATH, HEX, st.dictionaries(NAME, PIN, max_size=3))
IMAGE = st.builds(
    Image,
    st.builds(
        "{}:{}".format, st.from_regex(r"[a-z][a-z0-9._/-]{0,8}", fullmatch=True), st.just("bookworm-slim")
    ),
    HEX.map("sha256:{}".format),
    BLOB,
    BLOB,
    st.lists(BLOB, max_size=3).map(tuple),
)
LOCK = st.builds(
    Lock,
    st.sampled_from(("debian", "registry")),
    ARCHITECTURE,
    st.dictionaries(NAME, st.builds(Archive, DATE, BLOB, BLOB), max_size=3),
    st.dictionaries(NAME, STEP, max_size=3),
    st.dictionaries(NAME, WHEELS, max_size=3),
    st.dictionaries(NAME, st.builds(Artefact, NAME, PIN), max_size=2),
    st.dictionaries(NAME, IMAGE, max_size=2),
    st.none() | PIN,
)
