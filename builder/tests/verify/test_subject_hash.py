"""The name under which OpenSSL looks a CA up, against OpenSSL itself."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from authorities import NOW
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from esb_builder.ca import issue
from esb_builder.verify.trust import subject_hash

KEY = issue.new_key()
NAMES = [
    [(NameOID.COMMON_NAME, "Factory Root")],
    [
        (NameOID.COUNTRY_NAME, "JP"),
        (NameOID.ORGANIZATION_NAME, "工場 KK"),
        (NameOID.COMMON_NAME, "Root  of\tAll "),
    ],
    [(NameOID.EMAIL_ADDRESS, "CA@Factory.EXAMPLE"), (NameOID.COMMON_NAME, "Ärger ÄÖ")],
    [
        (NameOID.COMMON_NAME, "x" * 64),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "y" * 64),
        (NameOID.LOCALITY_NAME, "z" * 100),
    ],
]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to compare with")
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_it_is_the_hash_that_openssl_computes(
    name: list[tuple[x509.ObjectIdentifier, str]], tmp_path: Path
) -> None:
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in name])
    draft = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(KEY.public_key())
    draft = draft.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    made = draft.sign(KEY, hashes.SHA256())
    path = tmp_path / "ca.crt"
    path.write_bytes(issue.pem(made))
    told = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-hash"], capture_output=True, text=True, check=True
    )
    assert subject_hash(made) == told.stdout.strip()
