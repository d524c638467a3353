"""Judging signed statements: the trusted key, these images, nothing changed; else what is wrong and where."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from esb_builder.signing import attestations, dsse
from esb_builder.signing.attestations import FILES, PUBLIC_KEY, UNLOCKED
from esb_builder.signing.keys import Signer
from esb_builder.signing.statement import PAYLOAD, PROVENANCE, Statement, read
from esb_builder.verify.verdict import Verdict
from esb_common.errors import BadInput, Misuse
from esb_common.ids import Digest, digest_of

NAME = "esb-gateway"
ID, OTHER_ID = digest_of(b"one"), digest_of(b"two")
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
TRUSTED = SIGNER.verifier.fingerprint
LOCKED = {"buildDefinition": {"internalParameters": {"locked": True}}}


def said(image: Digest = ID, name: str = NAME) -> list[Statement]:
    return [Statement(name, image, kind, LOCKED) for kind in FILES]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home where the image is signed."""
    attestations.write(tmp_path, SIGNER, said())
    return tmp_path


def judged(home: Path, image: Digest = ID, fingerprint: str = TRUSTED) -> Verdict:
    (verdict,) = attestations.judge(home, {NAME: image}, fingerprint)
    return verdict


def place(home: Path) -> Path:
    return attestations.folder(home, ID)


def test_what_the_trusted_key_signed_of_this_image_holds(home: Path) -> None:
    assert (judged(home).status, judged(home).note) == ("pass", "")
    assert {path.name for path in place(home).iterdir()} == {*FILES.values(), PUBLIC_KEY}


def test_signing_again_changes_nothing(home: Path) -> None:
    before = {path.name: path.read_bytes() for path in place(home).iterdir()}
    attestations.write(home, SIGNER, said())
    assert {path.name: path.read_bytes() for path in place(home).iterdir()} == before


@pytest.mark.parametrize("fingerprint", [None, ""])
def test_without_a_fingerprint_nothing_is_judged(fingerprint: str | None, home: Path) -> None:
    with pytest.raises(Misuse, match="fingerprint") as error:
        attestations.judge(home, {NAME: ID}, fingerprint)
    assert "--trust FINGERPRINT" in error.value.hint
    assert "esb key show" in error.value.hint


def test_another_key_is_named_with_the_trusted_one(home: Path) -> None:
    attestations.write(home, OTHER, said())
    verdict = judged(home)
    assert verdict.status == "fail"
    assert OTHER.verifier.fingerprint in verdict.findings[0].what
    assert TRUSTED in verdict.findings[0].what


def test_another_key_beside_does_not_help_a_statement_that_it_signed(home: Path) -> None:
    """Whoever can write the folder can write the public key: it must be the trusted one."""
    forged = dsse.sign(said()[0].encoded(), PAYLOAD, OTHER)
    (place(home) / FILES[PROVENANCE]).write_bytes(forged)
    (finding,) = judged(home).findings
    assert "not signed by" in finding.what
    assert finding.where.endswith("provenance.dsse.json")
    (place(home) / PUBLIC_KEY).write_bytes(OTHER.verifier.pem)
    assert "signed with the key" in judged(home).findings[0].what


def test_a_changed_statement_is_named(home: Path) -> None:
    path = place(home) / FILES[PROVENANCE]
    envelope = json.loads(path.read_bytes())
    changed = Statement(NAME, ID, PROVENANCE, {"buildDefinition": {}})
    envelope["payload"] = json.loads(dsse.sign(changed.encoded(), PAYLOAD, OTHER))["payload"]
    path.write_text(json.dumps(envelope))
    (finding,) = judged(home).findings
    assert "provenance.dsse.json is not signed by" in finding.what


def test_statements_about_another_image_do_not_count(home: Path) -> None:
    attestations.folder(home, OTHER_ID).parent.mkdir(exist_ok=True)
    place(home).rename(attestations.folder(home, OTHER_ID))
    verdict = judged(home, OTHER_ID)
    assert len(verdict.findings) == len(FILES)
    assert all(f"is about the image {ID}, not about {OTHER_ID}" in one.what for one in verdict.findings)


def test_a_statement_in_the_place_of_another_does_not_count(home: Path) -> None:
    provenance, *others = (place(home) / file for file in FILES.values())
    provenance.write_bytes(others[0].read_bytes())
    (finding,) = judged(home).findings
    assert "not https://slsa.dev/provenance/v1" in finding.what


def test_a_statement_about_an_image_of_another_name_does_not_count(tmp_path: Path) -> None:
    attestations.write(tmp_path, SIGNER, said(name="esb-runtime-node"))
    assert "of esb-runtime-node" in judged(tmp_path).findings[0].what


@pytest.mark.parametrize("file", [*FILES.values(), PUBLIC_KEY])
def test_a_missing_file_is_named(file: str, home: Path) -> None:
    (place(home) / file).unlink()
    (finding,) = judged(home).findings
    assert "missing" in finding.what
    assert finding.where == str(place(home) / file)


def test_an_image_that_nobody_signed_fails(tmp_path: Path) -> None:
    (finding,) = judged(tmp_path).findings
    assert finding.what == f"{ID} is not signed"
    assert finding.mend == f"./esb sign {NAME}"


def test_inputs_that_no_lock_pins_are_told(tmp_path: Path) -> None:
    attestations.write(tmp_path, SIGNER, [Statement(NAME, ID, kind, {}) for kind in FILES])
    assert (judged(tmp_path).status, judged(tmp_path).note) == ("pass", UNLOCKED)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"subject": []}', b'{"subject": [{"digest": 1}]}'])
def test_what_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(BadInput, match="no statement about one image"):
        read(payload, "it")


def test_an_id_that_leads_elsewhere_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not an image's id"):
        attestations.folder(tmp_path, Digest("sha256:../../x"))
