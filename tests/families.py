"""The image family in miniature, right in every row, for tests to spoil one fact at a time.

A :class:`Draft` is a list of layers per image, each path → entry, written by our own OCI writer
into one archive per image; layers of a parent come first, as in the real family.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from authorities import NOW, authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from esb_builder import oci, verify
from esb_builder.archive import Archive
from esb_builder.ca import issue
from esb_builder.oci import Entry
from esb_builder.plan import FAMILY
from esb_builder.verify import Sources, firecracker
from esb_builder.verify.trust import BAKED, BUNDLE, STORE, subject_hash

KEY = issue.new_key()
ROOT_CA = authority(KEY, "Factory Root", KEY, "Factory Root", NOW, days=3650)
OTHER_KEY = issue.new_key()
OTHER_CA = authority(OTHER_KEY, "Other Root", OTHER_KEY, "Other Root", NOW, days=3650)

SOURCES = Sources.read(Path(__file__).parents[1])
LIB = "usr/lib/x86_64-linux-gnu"
PYTHON = "usr/local/bin/python3.12"
USER = (10001, 10001)

_ENTRYPOINT = {"Entrypoint": ["/app/entrypoint.sh"]}

Layer = dict[str, Entry]


@dataclass
class Draft:
    """One image to be: its layers by path, its configuration, and the tag it is saved under."""

    layers: list[Layer]
    config: dict[str, object] = field(default_factory=dict)

    def put(self, entry: Entry) -> None:
        """Add or replace a file, in the topmost layer."""
        self.layers[-1][entry.path] = entry

    def drop(self, path: str) -> None:
        """Take a file out of every layer of this image."""
        for layer in self.layers:
            layer.pop(path, None)

    def alter(self, path: str, **changes: object) -> None:
        """Change a file where it lies."""
        for layer in self.layers:
            if path in layer:
                layer[path] = replace(layer[path], **changes)  # type: ignore[arg-type]


Family = dict[str, Draft]


def family() -> Family:
    """A fresh family in which every row holds."""
    os_base = [folders("etc", "usr", "usr/lib", LIB), _debian(), trust(ROOT_CA)]
    python_base = [*os_base, _python()]
    labels = _labels(ROOT_CA)
    return {
        "esb-os-base": Draft(_copied(os_base), {"Labels": labels}),
        "esb-python-base": Draft(_copied(python_base), {"Labels": labels}),
        "esb-gateway": Draft(
            _copied([*python_base, _application("gateway", "esb_gateway"), _places()]),
            {"Labels": labels, "User": "10001:10001", **_ENTRYPOINT},
        ),
        "esb-runtime-node": Draft(
            _copied([*python_base, _application("runtime-node", "esb_node")]),
            {"Labels": labels, **_ENTRYPOINT},
        ),
        "esb-lambda-python": Draft(_copied([*python_base, {}]), {"Labels": labels, "User": "993:993"}),
        "esb-gateway:firecracker": Draft(
            _copied([*python_base, _application("gateway", "esb_gateway"), _tunnel()]),
            {"Labels": labels, "User": "0:0", **_ENTRYPOINT},
        ),
        "esb-runtime-node:firecracker": Draft(
            _copied([*python_base, _application("runtime-node", "esb_node"), _tunnel() | _firecracker()]),
            {"Labels": labels | {"esb.artefacts": "stand-ins"}, **_ENTRYPOINT},
        ),
    }


def refresh(draft: Draft, certificate: x509.Certificate) -> None:
    """Give an image another root CA, consistently: file, bundle, link and labels."""
    for layer in draft.layers:
        if BAKED in layer:
            layer.clear()
            layer.update(trust(certificate))
    draft.config["Labels"] = _labels(certificate)


def trust(certificate: x509.Certificate) -> Layer:
    """What baking a root CA leaves behind."""
    pem = issue.pem(certificate)
    name = f"{STORE}/esb-rootCA.pem"
    return entries(
        Entry(BAKED, content=pem),
        Entry(BUNDLE, content=issue.pem(OTHER_CA) + pem),
        Entry(name, "symlink", 0o777, target=f"/{BAKED}"),
        Entry(f"{STORE}/{subject_hash(certificate)}.0", "symlink", 0o777, target="esb-rootCA.pem"),
    )


def certificate(days: int = 3650, begins: int = -1, *, ca: bool = True) -> x509.Certificate:
    """A self-signed certificate, valid from ``begins`` days on."""
    return authority(KEY, "Factory Root", KEY, "Factory Root", NOW + timedelta(days=begins + 1), days, ca=ca)


def entries(*made: Entry) -> Layer:
    return {entry.path: entry for entry in made}


def folders(*paths: str) -> Layer:
    return entries(*(Entry(path, "directory", 0o755) for path in paths))


def write(place: Path, name: str, draft: Draft) -> Path:
    """Save one image as an archive; the path."""
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for number, layer in enumerate(draft.layers):
        path = place / f"{name}-{number}.tar"
        with path.open("wb") as out:
            oci.write_layer(out, layer.values())
        files.append(path)
    layout, archive = place / name, place / f"{name}.tar"
    oci.write_image(layout, files, draft.config, f"docker.io/library/{FAMILY[name].reference}")
    oci.write_archive(archive, layout)
    return archive


@contextmanager
def judged(
    place: Path, drafts: Family, sources: Sources = SOURCES
) -> Iterator[dict[tuple[str, str], verify.Verdict]]:
    """Save and judge the family with the checkout's Dockerfiles; the verdicts by row and image."""
    with ExitStack() as stack:
        paths = [write(place, name, drafts[name]) for name in FAMILY if name in drafts]
        found = verify.subjects([stack.enter_context(Archive(path)) for path in paths])
        verdicts = verify.judge(found, list(found), NOW, sources)
        yield {(one.row, one.image): one for one in verdicts}


def elf(
    *needed: str,
    runpath: str = "",
    rpath: str = "",
    interpreter: str = "",
    machine: int = 62,
) -> bytes:
    """A 64-bit ELF file with just the dynamic part that a loader reads (machine 62 is x86-64)."""
    texts = b"\0"
    tags = []
    for tag, text in [*((1, name) for name in needed), (29, runpath), (15, rpath)]:
        if text:
            tags.append((tag, len(texts)))
            texts += text.encode() + b"\0"
    loader = interpreter.encode() + b"\0" if interpreter else b""
    headers = 2 + bool(loader)
    at_texts = 64 + 56 * headers
    at_loader = at_texts + len(texts)
    at_tags = (at_loader + len(loader) + 7) & ~7
    table = b"".join(struct.pack("<QQ", *one) for one in [*tags, (5, at_texts), (10, len(texts)), (0, 0)])
    size = at_tags + len(table)

    def header(kind: int, at: int, length: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 4, at, at, at, length, length, 8)

    content = b"\x7fELF\x02\x01\x01" + bytes(9)
    content += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, headers, 64, 0, 0)
    content += header(1, 0, size) + header(2, at_tags, len(table))
    content += header(3, at_loader, len(loader)) if loader else b""
    return (content + texts + loader).ljust(at_tags, b"\0") + table


def _debian() -> Layer:
    release = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
    return entries(
        Entry("etc/os-release", "symlink", 0o777, target="../usr/lib/os-release"),
        Entry("usr/lib/os-release", content=release),
        Entry("lib64", "symlink", 0o777, target="usr/lib64"),
        Entry("usr/lib64/ld-linux-x86-64.so.2", mode=0o755, content=elf()),
        Entry("etc/ld.so.conf", content=b"include /etc/ld.so.conf.d/*.conf\n"),
        Entry("etc/ld.so.conf.d/local.conf", content=b"# local\n/usr/local/lib\n"),
        Entry(f"{LIB}/libc.so.6", mode=0o755, content=elf()),
        _listed(
            "libc6:amd64",
            f"/{LIB}/libc.so.6",
            "/lib64",
            "/lib64/ld-linux-x86-64.so.2",
            "/etc/ld.so.conf",
            "/etc/ld.so.conf.d/local.conf",
        ),
        _listed("base-files", "/etc/os-release", "/usr/lib/os-release"),
    )


def _listed(package: str, *paths: str) -> Entry:
    """What dpkg keeps of a package: which files are its own."""
    return Entry(f"var/lib/dpkg/info/{package}.list", content="\n".join(["/.", *paths, ""]).encode())


def _python() -> Layer:
    loader = "/lib64/ld-linux-x86-64.so.2"
    program = elf("libpython3.12.so.1.0", "libc.so.6", runpath="$ORIGIN/../lib", interpreter=loader)
    return entries(
        Entry(PYTHON, mode=0o755, content=program),
        Entry("usr/local/lib/libpython3.12.so.1.0", mode=0o755, content=elf("libc.so.6")),
    )


def _application(folder: str, package: str) -> Layer:
    service = f"app/services/{folder}"
    common = "app/services/common/src/esb_common"
    return {
        **folders("app", "app/services", "app/services/common", service),
        **entries(
            Entry("app/.venv/bin/python", "symlink", 0o777, target="/" + PYTHON),
            Entry("app/.venv/pyvenv.cfg", content=b"home = /usr/local/bin\n"),
            Entry("app/entrypoint.sh", mode=0o755, content=b"#!/bin/sh\n"),
            Entry("usr/local/bin/uv", mode=0o755, content=elf()),
            Entry(f"{service}/pyproject.toml", content=b"[project]\n"),
            Entry(f"{service}/requirements.lock", content=b""),
            Entry(f"{service}/src/{package}/__init__.py", content=b""),
            Entry(f"{common}/__init__.py", content=b""),
            Entry(f"{common}/__pycache__/__init__.cpython-312.pyc", content=b""),
        ),
    }


def _tunnel() -> Layer:
    """What a tunnel takes."""
    programs = (Entry(path, mode=0o755, content=b"#!/bin/sh\n") for path in firecracker.TUNNEL)
    return entries(*programs, _listed("wireguard-tools", "/usr/bin/wg", "/usr/bin/wireguard-go"))


def _firecracker() -> Layer:
    """Stand-ins for Firecracker's files, declared as such."""
    files = (Entry(path, mode=0o755, content=b"stand-in\n") for path in firecracker.FILES)
    return entries(*files, Entry(firecracker.TAKEN, content=b"stand-ins\n"))


def _places() -> Layer:
    uid, gid = USER
    return entries(Entry("home/esb/.esb/certs", "directory", 0o700, uid, gid))


def _labels(certificate: x509.Certificate) -> dict[str, str]:
    return {
        "esb.root_ca.file_sha256": hashlib.sha256(issue.pem(certificate)).hexdigest(),
        "esb.root_ca.fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _copied(layers: list[Layer]) -> list[Layer]:
    return [dict(layer) for layer in layers]
