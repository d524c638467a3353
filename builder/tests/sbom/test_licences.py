"""Debian's and Python's words for licences, and what they become."""

import re

import pytest
from esb_builder.sbom import licences
from hypothesis import given
from hypothesis import strategies as st

FORMAT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-3.0", "GPL-3.0-only"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("Expat", "MIT"),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("GPL-3+ with Bison exception", "GPL-3.0-or-later WITH Bison-exception-2.2"),
        ("GPL-2+ with distribution exception", "LicenseRef-GPL-2-or-later-with-distribution-exception"),
        ("GPL-1+ or Artistic", "GPL-1.0-or-later OR LicenseRef-Artistic"),
        ("Expat or GPL-2 and ISC", "(GPL-2.0-only AND ISC) OR MIT"),
        ("GPL-1+ or Artistic, and Expat", "(GPL-1.0-or-later OR LicenseRef-Artistic) AND MIT"),
        ("GPL", "LicenseRef-GPL"),
        ("GPL-2.1", "LicenseRef-GPL-2.1"),
        ("public-domain", "LicenseRef-public-domain"),
        ("ISC+IBM", "LicenseRef-ISC-or-later-IBM"),
        ("", ""),
    ],
)
def test_a_name_of_debians_means_one_thing(said: str, means: str) -> None:
    assert licences.of_copyright(f"{FORMAT}Files: *\nLicense: {said}\n text\n") == means


def test_every_licence_of_some_file_holds_and_each_once() -> None:
    stanzas = "Files: a\nLicense: GPL-2+\n\nFiles: b\nLicense: Expat and GPL-2+\n"
    assert licences.of_copyright(FORMAT + stanzas) == "GPL-2.0-or-later AND MIT"


def test_a_licences_text_alone_says_of_no_file_that_it_holds() -> None:
    assert licences.of_copyright(FORMAT + "Files: *\nLicense: ISC\n\nLicense: GPL-3\n text\n") == "ISC"


def test_prose_says_nothing() -> None:
    assert licences.of_copyright("This package is under the GPL.\nLicense: MIT\n") == ""


@pytest.mark.parametrize(
    ("expression", "licence", "classifiers", "means"),
    [
        ("Apache-2.0", "", [], "Apache-2.0"),
        ("(MIT OR BSD-3-Clause) AND PSF-2.0", "", [], "(MIT OR BSD-3-Clause) AND PSF-2.0"),
        ("see: the file!", "", [], "LicenseRef-see-the-file"),
        ("", "3-Clause BSD License", [], "BSD-3-Clause"),
        ("", "MIT OR AFL-2.1", [], "MIT OR AFL-2.1"),
        ("", "Dual License", ["License :: OSI Approved :: BSD License"], "LicenseRef-Dual-License"),
        ("", "", ["License :: OSI Approved :: MIT License"], "MIT"),
        (
            "",
            "",
            ["License :: OSI Approved :: Apache Software License"],
            "LicenseRef-Apache-Software-License",
        ),
        ("", "A whole text. " * 40, [], ""),
        ("", "", [], ""),
    ],
)
def test_a_distribution_says_its_licence(
    expression: str, licence: str, classifiers: list[str], means: str
) -> None:
    assert licences.of_metadata(expression, licence, classifiers) == means


def test_names_that_spdx_does_not_know_are_found_again() -> None:
    assert licences.references("MIT AND (LicenseRef-a.b OR LicenseRef-c-1)") == [
        "LicenseRef-a.b",
        "LicenseRef-c-1",
    ]


@given(st.text(alphabet=st.sampled_from("GPL-2+ .,()andorwithexceptionMIT/\u00e9\"'"), max_size=60))
def test_whatever_a_file_says_the_expression_has_a_right_form(said: str) -> None:
    found = licences.of_copyright(f"{FORMAT}Files: *\nLicense: {said}\n")
    atom = r"\(*[A-Za-z0-9][A-Za-z0-9.-]*( WITH [A-Za-z0-9.-]+)?\)*"
    assert not found or re.fullmatch(rf"{atom}( (AND|OR) {atom})*", found)
    assert found.count("(") == found.count(")")
