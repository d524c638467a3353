"""The profile of what we sign, judged by OpenSSL's strictest check where it is there."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from pathlib import Path

import pytest
from authorities import NAMES, NOW
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from esb_builder.ca import issue, judge
from esb_common.errors import BadInput

KEY = issue.new_key()
ROOT = issue.root(KEY, "factory", NOW)


def test_the_root_may_sign_servers_but_no_further_authority() -> None:
    basic = ROOT.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    usage = ROOT.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature


def test_a_server_certificate_lives_at_most_825_days_and_never_longer_than_its_issuer() -> None:
    leaf = issue.leaf(issue.new_key(), NAMES, ROOT, KEY, NOW)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= dt.timedelta(days=825)
    late = ROOT.not_valid_after_utc - dt.timedelta(days=40)
    assert issue.leaf(issue.new_key(), NAMES, ROOT, KEY, late).not_valid_after_utc <= ROOT.not_valid_after_utc


def test_addresses_are_addresses_and_names_are_names() -> None:
    found = issue.leaf(issue.new_key(), NAMES, ROOT, KEY, NOW).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert sorted(found.value.get_values_for_type(x509.DNSName)) == ["factory", "gateway", "localhost"]
    assert sorted(map(str, found.value.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the judge is openssl")
def test_openssl_accepts_it_in_strict_mode(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(issue.pem(ROOT))
    (tmp_path / "leaf").write_bytes(issue.pem(issue.leaf(issue.new_key(), NAMES, ROOT, KEY, NOW)))
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        str(tmp_path / "root"),
    ]
    done = subprocess.run([*command, str(tmp_path / "leaf")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_request_names_what_the_gateway_needs() -> None:
    request = issue.request(KEY, NAMES)
    assert request.is_signature_valid
    assert judge.names(request) == NAMES


def test_a_key_survives_its_file() -> None:
    assert issue.public_bytes(issue.load_key(issue.key_bytes(KEY), "x")) == issue.public_bytes(KEY)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"nonsense", "is not a private key"),
        (
            KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
            "needs a password",
        ),
        (
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "is not a key that TLS servers use",
        ),
    ],
)
def test_a_wrong_key_is_refused_without_showing_it(content: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=f"gateway.key {said}") as caught:
        issue.load_key(content, "gateway.key")
    assert "BEGIN" not in str(caught.value)
