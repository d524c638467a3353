"""S9, S13–S15: the root CA is where it belongs, works there, is the same everywhere and stays as it is."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from esb_common.ids import Digest

from esb_builder.archive import Node, Window
from esb_builder.verify.lineage import OS_BASE
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

BAKED = "usr/local/share/ca-certificates/esb-rootCA.crt"
STORE = "etc/ssl/certs"
BUNDLE = f"{STORE}/ca-certificates.crt"
FILE_LABEL, DER_LABEL = "esb.root_ca.file_sha256", "esb.root_ca.fingerprint"
REBUILD = "./esb build (it bakes ${ESB_CERT_DIR}/rootCA.crt)"
WARN = timedelta(days=90)
"""So long before its end a root CA is warned of: rotating it means rebuilding and trusting it everywhere."""

_UPDATES = re.compile(rb"update-ca-certificates|c_rehash|openssl\s+rehash|dpkg-reconfigure\s+ca-certificates")
_SCRIPTS = re.compile(r"app/entrypoint[^/]*\.sh|usr/local/bin/[^/]+")
_STORES = (STORE, "usr/local/share/ca-certificates", "usr/share/ca-certificates")
_OTHERS_WRITE = 0o022
_MOST_SCRIPT = 1 << 20
_MOST_BUNDLE = 16 << 20
_BIT_STRING, _OBJECT, _UTF8_STRING, _SEQUENCE, _SET = 0x03, 0x06, 0x0C, 0x30, 0x31


def baked(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S13: one valid CA certificate at its path, 0644, the one that the labels name."""
    node = subject.tree.nodes.get(BAKED)
    if node is None or node.kind != "file":
        yield Finding("the root CA is not baked in", BAKED, REBUILD)
        return
    if (node.mode, node.uid, node.gid) != (0o644, 0, 0):
        owner = f"{node.uid}:{node.gid}"
        yield Finding(f"its mode is {node.mode:04o}, owner {owner}, not 0644, 0:0", BAKED, REBUILD)
    content = subject.tree.read(BAKED) or b""
    certificates = _certificates(content)
    if len(certificates) != 1:
        yield Finding(f"it holds {len(certificates)} readable certificates, not one", BAKED, REBUILD)
        return
    yield from _no_authority(certificates[0], scene)
    yield from _other_label(subject, content, certificates[0])


def installed(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S14: ``update-ca-certificates`` ran in the build: the CA is in the bundle and found by its hash."""
    baked_ones = _certificates(subject.tree.read(BAKED) or b"")
    if len(baked_ones) != 1:
        yield Finding("there is no one baked root CA to look for", BAKED, REBUILD)
        return
    root = baked_ones[0]
    bundle = subject.tree.read(BUNDLE, _MOST_BUNDLE) or b""
    if root not in _certificates(bundle):
        yield Finding("the root CA is not in the bundle that programs read", BUNDLE, REBUILD)
    name = subject_hash(root)
    links = [path for path, _ in subject.tree.below(STORE) if re.fullmatch(rf"{STORE}/{name}\.\d+", path)]
    if not any(_certificates(subject.tree.read(link) or b"") == [root] for link in links):
        yield Finding("no hash link leads to the root CA", f"{STORE}/{name}.0", REBUILD)


def same_store(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S15: ``/etc/ssl/certs`` is byte for byte that of os-base."""
    mine, theirs = _store(subject), _store(scene.family[OS_BASE])
    for path in sorted(mine.keys() | theirs.keys()):
        if mine.get(path) != theirs.get(path):
            yield Finding(
                f"the trust store differs from {OS_BASE}'s",
                path,
                f"rebuild it on the present base: ./esb build {subject.name}",
            )
            return


def fixed_at_run_time(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S9: nothing that the image starts updates the store, and only root may write it."""
    own = subject.image.config.get("config", {})
    command = " ".join([*(own.get("Entrypoint") or ()), *(own.get("Cmd") or ())])
    if _UPDATES.search(command.encode(errors="replace")):
        yield Finding(
            "the image's command updates the trust store", "config.Entrypoint", "only the build does"
        )
    started = {subject.tree.real(word) for word in command.split() if word.startswith("/")}
    for path, node in subject.tree.nodes.items():
        if node.kind == "file" and (path in started or _SCRIPTS.fullmatch(path)):
            if subject.tree.once(node, _updates):
                yield Finding(
                    "it updates the trust store at run time", path, "only the build does; take it out"
                )
        elif _in_store(path) and node.kind != "symlink" and (node.uid or node.mode & _OTHERS_WRITE):
            told = f"owner {node.uid}, mode {node.mode:04o}"
            yield Finding(f"others than root may change the trust store: {told}", path, REBUILD)


def subject_hash(certificate: x509.Certificate) -> str:
    """The name under which OpenSSL looks a CA up in a folder (``openssl x509 -hash``).

    SHA-1 over the subject's canonical form, its first four bytes, little end first: see
    ``X509_NAME_hash`` and ``x509_name_canon`` in OpenSSL's ``crypto/x509``.
    """
    sets = b"".join(_canonical_set(rdn) for rdn in certificate.subject.rdns)
    digest = hashlib.sha1(sets, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical_set(rdn: x509.RelativeDistinguishedName) -> bytes:
    pairs = sorted(_der(_SEQUENCE, _oid(one.oid.dotted_string) + _canonical_value(one)) for one in rdn)
    return _der(_SET, b"".join(pairs))


def _canonical_value(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    if isinstance(attribute.value, bytes):
        return _der(_BIT_STRING, b"\0" + attribute.value)
    words = attribute.value.strip(" \t\n\v\f\r").split()
    lowered = "".join(chr(ord(one) + 32) if "A" <= one <= "Z" else one for one in " ".join(words))
    return _der(_UTF8_STRING, lowered.encode())


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    return _der(_OBJECT, b"".join(_base128(one) for one in (first * 40 + second, *rest)))


def _base128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """Every readable certificate of a PEM file; an empty list where there is none."""
    try:
        with warnings.catch_warnings(action="ignore"):  # some of Debian's authorities have odd serial numbers
            return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _no_authority(certificate: x509.Certificate, scene: Scene) -> Iterator[Finding]:
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        yield Finding("the certificate is not a CA (no CA:TRUE)", BAKED, REBUILD)
    if certificate.not_valid_after_utc <= scene.now:
        expired = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        yield Finding(
            f"the root CA expired on {expired}", BAKED, "make a new one (./esb ca init) and rebuild"
        )
    elif certificate.not_valid_after_utc - scene.now < WARN:
        days = (certificate.not_valid_after_utc - scene.now).days
        mend = "./esb ca rotate makes a new one and rebuilds"
        yield Finding(f"the root CA expires in {days} days", BAKED, mend, level="warning")
    if certificate.not_valid_before_utc > scene.now:
        starts = f"{certificate.not_valid_before_utc:%Y-%m-%d}"
        yield Finding(f"the root CA is not valid before {starts}", BAKED, "set the clock, or take another CA")


def _other_label(subject: Subject, content: bytes, certificate: x509.Certificate) -> Iterator[Finding]:
    labels = subject.image.config.get("config", {}).get("Labels") or {}
    file_sha256 = hashlib.sha256(content).hexdigest()
    if labels.get(FILE_LABEL) != file_sha256:
        told = labels.get(FILE_LABEL, "nothing")
        yield Finding(f"label {FILE_LABEL} says {told}, the file is {file_sha256}", "config.Labels", REBUILD)
    der_sha256 = certificate.fingerprint(hashes.SHA256()).hex()
    if labels.get(DER_LABEL, der_sha256) != der_sha256:
        told = labels[DER_LABEL]
        yield Finding(
            f"label {DER_LABEL} says {told}, the certificate is {der_sha256}", "config.Labels", REBUILD
        )


def _updates(content: Window) -> bool:
    head = content.read(_MOST_SCRIPT)
    return head[:2] == b"#!" and _UPDATES.search(head) is not None


def _in_store(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in _STORES)


def _store(subject: Subject) -> dict[str, tuple[Node, bytes]]:
    """The trust store: each path with its place-free node and content."""
    found = {}
    for path, node in subject.tree.below(STORE):
        content = subject.tree.open(node).read() if node.kind == "file" else b""
        found[path] = (replace(node, layer=Digest(""), offset=0), content)
    return found
