"""The box's certificates: a root CA of our own, or a company's that we respect.

``rootCA.crt`` is what images carry and clients trust. Where it is missing we make an authority;
its private key stays in ``${ESB_HOME}/ca`` and is mounted nowhere. A ``rootCA.crt`` whose key
we do not hold is a company's: it is never overwritten, ``gateway.csr`` is written for it, and a
``gateway.crt`` that it signed is accepted with its chain. Until that comes, an authority of
our own signs the gateway's certificate, and :attr:`Trust.client_trust_file` names the file that
clients need.

Everything wrong is a :class:`~esb_common.errors.BadInput` before anything is written.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from esb_common.errors import BadInput

from esb_builder.ca import files, handshake, issue, judge
from esb_builder.ca.files import Folders

__all__ = ["Folders", "Trust", "check", "init"]

_INIT = "run: ./esb ca init"


@dataclass(frozen=True, slots=True)
class Trust:
    """Certificates that hold. ``root_file_sha256`` is the file's, ``fingerprint`` the DER's SHA-256."""

    subject: str
    root_file: Path
    root_file_sha256: str
    fingerprint: str
    not_after: dt.datetime
    certificate_file: Path
    certificate_names: tuple[str, ...]
    certificate_not_after: dt.datetime
    company: bool
    client_trust_file: Path
    request_file: Path | None
    """For the company's CA to sign; None where there is nothing to ask."""


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: issue.Key


def init(folders: Folders, now: dt.datetime | None = None) -> Trust:
    """Make what is missing, renew what is due, and check everything. Safe to repeat.

    BadInput, with nothing written, where a file that is not ours to replace is wrong.
    """
    moment = now or _now()
    given = files.read(folders.root)
    own = _own_authority(folders, moment)
    if given is not None:
        judge.root(given, str(folders.root), moment)
    company = given is not None and not _is_ours(folders, given)
    if company and _company_signed(folders, moment):
        _ensure_key_owner(folders)
        return check(folders, moment)
    _make_folders(folders)
    own = own or _new_authority(folders, given if not company else None, moment)
    if given is None:
        files.write(folders.root, issue.pem(own.certificate), 0o644)
    _ensure_leaf(folders, own, moment)
    if company:
        _ensure_request(folders)
    return check(folders, moment)


def check(folders: Folders, now: dt.datetime | None = None) -> Trust:
    """Everything that a build or a start relies on; changes nothing. BadInput says what is wrong."""
    moment = now or _now()
    content = _needed(folders.root)
    root = judge.root(content, str(folders.root), moment)
    chain = judge.chain(_needed(folders.certificate), str(folders.certificate))
    key = issue.load_key(_needed(folders.key), str(folders.key))
    if not judge.same_key(chain[0], issue.public_bytes(key)):
        raise BadInput(f"{folders.certificate} does not belong to {folders.key}", _INIT)
    judge.refuse_outside(chain[0], str(folders.certificate), moment, _INIT)
    trusted = _accepted_under(folders)
    company = not _is_ours(folders, content)
    return Trust(
        subject=root.subject.rfc4514_string(),
        root_file=folders.root,
        root_file_sha256=hashlib.sha256(content).hexdigest(),
        fingerprint=judge.fingerprint(root),
        not_after=root.not_valid_after_utc,
        certificate_file=folders.certificate,
        certificate_names=tuple(sorted(judge.names(chain[0]))),
        certificate_not_after=chain[0].not_valid_after_utc,
        company=company,
        client_trust_file=trusted,
        request_file=folders.request if company and trusted != folders.root else None,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _needed(path: Path) -> bytes:
    content = files.read(path)
    if content is None:
        raise BadInput(f"{path} is missing", _INIT)
    return content


def _accepted_under(folders: Folders) -> Path:
    """The root file under which a TLS client accepts the gateway."""
    complaint = handshake.complaint(folders.root, folders.certificate, folders.key)
    if complaint is None:
        return folders.root
    if folders.own_root.exists() and not handshake.complaint(
        folders.own_root, folders.certificate, folders.key
    ):
        return folders.own_root
    raise BadInput(
        f"{folders.certificate} is not accepted by a client that trusts {folders.root}: {complaint}",
        "put the gateway's certificate first and the authorities between after it, all in that file; "
        "or remove it and run: ./esb ca init",
    )


def _own_authority(folders: Folders, now: dt.datetime) -> _Authority | None:
    """The authority that we made before; BadInput where its two files do not fit each other."""
    content, key_content = files.read(folders.own_root), files.read(folders.own_key)
    if content is None or key_content is None:
        return None
    hint = f"restore both files from a backup, or move {folders.authority} away to start a new authority"
    certificate = judge.root(content, str(folders.own_root), now)
    key = issue.load_key(key_content, str(folders.own_key))
    if not judge.same_key(certificate, issue.public_bytes(key)):
        raise BadInput(f"{folders.own_key} is not the key of {folders.own_root}", hint)
    return _Authority(certificate, key)


def _is_ours(folders: Folders, root: bytes) -> bool:
    """Whether we hold the key of the CA in ``root``."""
    content = files.read(folders.own_key)
    if content is None:
        return False
    key = issue.load_key(content, str(folders.own_key))
    return judge.same_key(judge.chain(root, str(folders.root))[0], issue.public_bytes(key))


def _new_authority(folders: Folders, own_root: bytes | None, now: dt.datetime) -> _Authority:
    """A new key and certificate, or ``own_root`` again where only its copy was lost."""
    content = files.read(folders.own_key)
    key = issue.load_key(content, str(folders.own_key)) if content else issue.new_key()
    if own_root is not None:
        certificate = judge.root(own_root, str(folders.root), now)
    else:
        certificate = issue.root(key, socket.gethostname(), now)
    if content is None:
        files.write(folders.own_key, issue.key_bytes(key), 0o600)
    files.write(folders.own_root, issue.pem(certificate), 0o644)
    return _Authority(certificate, key)


def _company_signed(folders: Folders, now: dt.datetime) -> bool:
    """Whether ``gateway.crt`` is the company's and good. BadInput where it is somebody's but wrong."""
    content = files.read(folders.certificate)
    if content is None:
        return False
    leaf = _leaf(folders, content)
    own = files.read(folders.own_root)
    if own is not None and judge.is_signed_by(leaf, judge.chain(own, str(folders.own_root))[0]):
        return False
    ask = f"have {folders.request} signed again, or remove the file to go on with a certificate of our own"
    judge.refuse_outside(leaf, str(folders.certificate), now, ask)
    key = issue.load_key(_needed(folders.key), str(folders.key))
    if not judge.same_key(leaf, issue.public_bytes(key)):
        raise BadInput(f"{folders.certificate} does not belong to {folders.key}", ask)
    _accepted_under(folders)
    return True


def _make_folders(folders: Folders) -> None:
    files.folder(folders.certificates, 0o755)
    files.folder(folders.authority, 0o700)


def _ensure_leaf(folders: Folders, own: _Authority, now: dt.datetime) -> None:
    key = _gateway_key(folders)
    content = files.read(folders.certificate)
    if content is not None and not _reissue(content, folders, own, key, now):
        return
    if content is not None and not judge.is_signed_by(_leaf(folders, content), own.certificate):
        folders.certificate.rename(folders.certificate.with_suffix(".crt.old"))  # not of our making: kept
    certificate = issue.leaf(key, folders.names, own.certificate, own.key, now)
    files.write(folders.certificate, issue.pem(certificate), 0o644)


def _leaf(folders: Folders, content: bytes) -> x509.Certificate:
    return judge.chain(content, str(folders.certificate))[0]


def _reissue(content: bytes, folders: Folders, own: _Authority, key: issue.Key, now: dt.datetime) -> bool:
    leaf = _leaf(folders, content)
    fits = judge.is_signed_by(leaf, own.certificate) and judge.same_key(leaf, issue.public_bytes(key))
    return not fits or judge.due(leaf, folders.names, now) is not None


def _gateway_key(folders: Folders) -> issue.Key:
    content = files.read(folders.key)
    if content is None:
        key = issue.new_key()
        files.write(folders.key, issue.key_bytes(key), 0o600, (folders.uid, folders.gid))
        return key
    _ensure_key_owner(folders)
    return issue.load_key(content, str(folders.key))


def _ensure_key_owner(folders: Folders) -> None:
    """Another ESB_UID, or a file that came by copying: the gateway's user alone may read its key."""
    seen = folders.key.stat()
    owned = (seen.st_uid, seen.st_gid) == (folders.uid, folders.gid) or os.geteuid() != 0
    if not owned or seen.st_mode & 0o777 != 0o600:
        files.write(folders.key, folders.key.read_bytes(), 0o600, (folders.uid, folders.gid))


def _ensure_request(folders: Folders) -> None:
    key = issue.load_key(_needed(folders.key), str(folders.key))
    content = files.read(folders.request)
    if content is None or not _is_request_for(content, key, folders.names):
        files.write(folders.request, issue.pem(issue.request(key, folders.names)), 0o644)


def _is_request_for(content: bytes, key: issue.Key, names: frozenset[str]) -> bool:
    try:
        request = x509.load_pem_x509_csr(content)
    except ValueError:
        return False
    return judge.same_key(request, issue.public_bytes(key)) and judge.names(request) == names
