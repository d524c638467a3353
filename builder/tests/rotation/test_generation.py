"""Making the next root CA aside, and putting it and the one before into force."""

from __future__ import annotations

from pathlib import Path

import pytest
from authorities import NOW, Company, folders
from esb_builder import ca
from esb_builder.ca import Folders, handshake, issue
from esb_builder.rotation import generation
from esb_builder.stamps import Stamp
from esb_common.errors import BadInput, Misuse
from esb_common.ids import Digest


@pytest.fixture
def place(tmp_path: Path) -> Folders:
    made = folders(tmp_path / "home")
    ca.init(made)
    return made


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    return tmp_path / "room"


def contents(place: Folders) -> dict[str, tuple[bytes, int]]:
    everything = [*place.certificates.iterdir(), *(one for one in place.authority.iterdir() if one.is_file())]
    return {path.name + path.parent.name: (path.read_bytes(), path.stat().st_mode) for path in everything}


def test_a_new_one_of_our_own_has_another_key_and_changes_nothing_yet(place: Folders, room: Path) -> None:
    before = contents(place)
    made = generation.of_our_own(room, place, NOW)
    assert contents(place) == before
    assert made.fingerprint != generation.fingerprint(place.root)
    assert (room / "ca/rootCA.key").read_bytes() != place.own_key.read_bytes()


def test_in_force_clients_of_the_new_root_accept_the_gateway_and_those_of_the_old_do_not(
    place: Folders, room: Path, tmp_path: Path
) -> None:
    old_root = tmp_path / "old.crt"
    old_root.write_bytes(place.root.read_bytes())
    generation.install(generation.of_our_own(room, place, NOW), place)
    assert ca.check(place).client_trust_file == place.root
    assert handshake.complaint(old_root, place.certificate, place.key) is not None


def test_what_was_recorded_comes_back_byte_for_byte(place: Folders, room: Path, tmp_path: Path) -> None:
    before = contents(place)
    stamp = Stamp({"argument A": "1"}, Digest("sha256:" + "0" * 64), "engine", "", 1)
    kept = generation.record(room, place, {"esb-os-base": stamp})
    (tmp_path / "next").mkdir()
    generation.install(generation.of_our_own(tmp_path / "next", place, NOW), place)
    assert contents(place) != before
    generation.install(kept, place)
    assert contents(place) == before
    assert kept.family == {"esb-os-base": stamp}


def test_a_companys_new_root_is_taken_and_our_authority_signs_until_it_does(
    place: Folders, room: Path
) -> None:
    made = generation.given(room, place, issue.pem(Company().root), None, NOW)
    generation.install(made, place)
    trust = ca.check(place)
    assert trust.company
    assert trust.client_trust_file == place.own_root


def test_a_certificate_that_the_company_signed_already_is_taken_with_it(
    place: Folders, room: Path, tmp_path: Path
) -> None:
    first, second = Company(), Company()
    place.root.write_bytes(issue.pem(first.root))
    ca.init(place)
    signed = second.sign(place.request.read_bytes())
    generation.install(generation.given(room, place, issue.pem(second.root), signed, NOW), place)
    assert ca.check(place).client_trust_file == place.root


def test_a_certificate_of_another_company_is_refused_and_nothing_changes(place: Folders, room: Path) -> None:
    company = Company()
    place.root.write_bytes(issue.pem(company.root))
    ca.init(place)
    before = contents(place)
    with pytest.raises(BadInput, match="not accepted"):
        generation.given(
            room, place, issue.pem(Company().root), company.sign(place.request.read_bytes()), NOW
        )
    assert contents(place) == before


def test_a_companys_root_is_never_replaced_by_one_of_ours(place: Folders, room: Path) -> None:
    place.root.write_bytes(issue.pem(Company().root))
    ca.init(place)
    with pytest.raises(Misuse, match="company's"):
        generation.of_our_own(room, place, NOW)


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_a_file_that_is_no_root_ca_is_refused(place: Folders, room: Path, content: bytes) -> None:
    with pytest.raises(BadInput, match="the new root CA"):
        generation.given(room, place, content, None, NOW)


def test_the_root_ca_in_force_is_no_new_one(place: Folders, room: Path) -> None:
    with pytest.raises(BadInput, match="in force"):
        generation.given(room, place, place.root.read_bytes(), None, NOW)
