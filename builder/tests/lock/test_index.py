import pytest
from esb_builder.lock.index import Chosen, date_of, find, indexed, installed, solution
from esb_builder.store import Blob
from esb_common.errors import BadInput

INRELEASE = """\
-----BEGIN PGP SIGNED MESSAGE-----
Origin: Debian
Date: Sat, 11 Jul 2026 10:16:37 UTC
MD5Sum:
 00000000000000000000000000000000 8790396 main/binary-amd64/Packages.xz
SHA256:
 {} 12 contrib/Contents-all
 {} 8790396 main/binary-amd64/Packages.xz
-----BEGIN PGP SIGNATURE-----
""".format("1" * 64, "2" * 64)

PACKAGES = """\
Package: tzdata
Version: 2025b-0+deb12u2
Architecture: all
Description: time zones
 Depends: on the place
Filename: pool/main/t/tzdata/tzdata_2025b-0+deb12u2_all.deb
Size: 301200
MD5sum: 00000000000000000000000000000000
SHA256: {}

Package: tzdata
Version: 2024a-0+deb12u1
Architecture: all
Filename: pool/old.deb
Size: 1
SHA256: {}
""".format("3" * 64, "4" * 64)

SIMULATED = """\
Reading package lists...
Inst libc6 [2.36-9] (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []
Inst tzdata (2025b-0+deb12u2 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [all])
Conf tzdata (2025b-0+deb12u2 Debian:12.15/oldstable [all])
"""

TZDATA = Chosen("tzdata", "2025b-0+deb12u2", "all")


def test_the_signed_text_vouches_for_the_index() -> None:
    assert indexed(INRELEASE, "main/binary-amd64/Packages.xz") == Blob("2" * 64, 8790396)
    assert date_of(INRELEASE) == "2026-07-11T10:16:37Z"


def test_an_architecture_that_the_archive_lacks_is_said() -> None:
    with pytest.raises(BadInput, match="binary-vax"):
        indexed(INRELEASE, "main/binary-vax/Packages.xz")
    with pytest.raises(BadInput, match="no date"):
        date_of("")


def test_apts_solution_is_read_upgrades_included() -> None:
    assert solution(SIMULATED) == [Chosen("libc6", "2.36-9+deb12u14", "amd64"), TZDATA]


def test_exactly_the_chosen_version_is_found() -> None:
    found = find(PACKAGES, "bookworm", [TZDATA, Chosen("gone", "1", "all")])
    assert list(found) == [TZDATA]
    deb = found[TZDATA].deb
    assert (deb.sha256, deb.size, deb.suite) == ("3" * 64, 301200, "bookworm")
    assert deb.path == "pool/main/t/tzdata/tzdata_2025b-0+deb12u2_all.deb"


def test_what_is_chosen_counts_as_installed_in_the_next_step() -> None:
    [entry] = find(PACKAGES, "bookworm", [TZDATA]).values()
    status = installed([entry.stanza])
    assert "Package: tzdata\n" in status
    assert status.endswith("Status: install ok installed\n\n")
    assert "Filename" not in status
    assert " Depends: on the place\n" in status
