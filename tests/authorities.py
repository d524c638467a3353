"""Certificates for tests: a company's CA with an intermediate, and folders that belong to nobody else."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from esb_builder.ca import Folders, issue

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
NAMES = frozenset({"localhost", "127.0.0.1", "::1", "gateway", "factory"})


def folders(place: Path) -> Folders:
    """A fresh home with this user's ids."""
    return Folders(place / "certs", place / "ca", os.geteuid(), os.getegid(), NAMES)


class Company:
    """A company's root, an intermediate, and what they sign. We never hold its keys."""

    def __init__(self, now: dt.datetime = NOW) -> None:
        self.key, self.middle_key = issue.new_key(), issue.new_key()
        self.root = authority(self.key, "Company Root", self.key, "Company Root", now, days=3650)
        self.middle = authority(self.middle_key, "Company Issuing", self.key, "Company Root", now, days=1825)

    def sign(self, request: bytes, now: dt.datetime = NOW) -> bytes:
        """Answer a request: the server's certificate and the authority between."""
        asked = x509.load_pem_x509_csr(request)
        alternative = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        draft = x509.CertificateBuilder().subject_name(asked.subject).issuer_name(self.middle.subject)
        draft = draft.public_key(asked.public_key()).serial_number(x509.random_serial_number())
        draft = draft.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(
            now + dt.timedelta(days=365)
        )
        signed = draft.add_extension(alternative, critical=False).sign(self.middle_key, hashes.SHA256())
        return issue.pem(signed) + issue.pem(self.middle)


def authority(
    key: issue.Key,
    name: str,
    issuer_key: issue.Key,
    issuer: str,
    now: dt.datetime,
    days: int,
    *,
    ca: bool = True,
) -> x509.Certificate:
    """A certificate as a company's tools make it: without identifiers, RFC 5280's least."""
    usage = x509.KeyUsage(False, False, False, False, False, ca, ca, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
