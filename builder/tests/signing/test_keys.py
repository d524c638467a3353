"""The signing key: made once, for its owner alone, known by its fingerprint."""

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from esb_builder.signing import keys
from esb_common.errors import BadInput, Misuse


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    verifier, made = keys.init(tmp_path)
    assert made
    assert keys.path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert keys.path(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    assert keys.load(tmp_path).verifier.fingerprint == verifier.fingerprint


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    first, _ = keys.init(tmp_path)
    content = keys.path(tmp_path).read_bytes()
    again, made = keys.init(tmp_path)
    assert (again.fingerprint, made) == (first.fingerprint, False)
    assert keys.path(tmp_path).read_bytes() == content


def test_the_fingerprint_is_of_the_public_key_in_its_standard_form(tmp_path: Path) -> None:
    verifier, _ = keys.init(tmp_path)
    public = load_pem_private_key(keys.path(tmp_path).read_bytes(), None).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert verifier.fingerprint == hashlib.sha256(spki).hexdigest()
    assert keys.verifier(verifier.pem, "it").fingerprint == verifier.fingerprint


def test_without_a_key_one_is_told_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no signing key") as error:
        keys.load(tmp_path)
    assert "esb key init" in error.value.hint


def test_a_key_that_others_read_is_not_used(tmp_path: Path) -> None:
    keys.init(tmp_path)
    keys.path(tmp_path).chmod(0o640)
    with pytest.raises(BadInput, match="others than its owner"):
        keys.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused_and_stays(content: bytes, tmp_path: Path) -> None:
    keys.path(tmp_path).parent.mkdir()
    keys.path(tmp_path).write_bytes(content)
    keys.path(tmp_path).chmod(0o600)
    with pytest.raises(BadInput, match="not an ed25519 private key"):
        keys.init(tmp_path)
    assert keys.path(tmp_path).read_bytes() == content
    with pytest.raises(BadInput, match="not an ed25519 public key"):
        keys.verifier(content, "signer.pem")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    keys.path(tmp_path).parent.mkdir()
    keys.path(tmp_path).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    keys.path(tmp_path).chmod(0o600)
    with pytest.raises(BadInput, match="not an ed25519 private key"):
        keys.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["a" * 64, "A" * 64, "sha256:" + "a" * 64, ":".join(["aa"] * 32), f" {'a' * 64}\n"]
)
def test_a_fingerprint_may_be_written_as_people_write_them(text: str) -> None:
    assert keys.fingerprint(text) == "a" * 64


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "g" * 64, "sha512:" + "a" * 64])
def test_anything_else_is_no_fingerprint(text: str) -> None:
    with pytest.raises(Misuse, match="not a fingerprint"):
        keys.fingerprint(text)
