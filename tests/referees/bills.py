"""Runs in the referees' environment: what the formats' own validators say of bills of materials.

``bills.py FILE…`` prints a JSON object: the list of what is wrong by file, empty where it is valid.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path


def cyclonedx(path: Path) -> list[str]:
    """CycloneDX's JSON schema, strictly: nothing that it does not name, formats included."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text(), all_errors=True)
    return [str(one)[:500] for one in found or ()]


def spdx(path: Path) -> list[str]:
    """SPDX's own reader and rules."""
    from spdx_tools.spdx.parser.error import SPDXParsingError
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    try:
        found = validate_full_spdx_document(parse_file(str(path)), "SPDX-2.3")
    except SPDXParsingError as error:
        return list(error.get_messages())
    return [one.validation_message[:500] for one in found]


VALIDATORS: dict[str, Callable[[Path], list[str]]] = {".cdx.json": cyclonedx, ".spdx.json": spdx}


def validated(path: Path) -> list[str]:
    """What is wrong with one bill, by the ending of its name."""
    (validator,) = [one for ending, one in VALIDATORS.items() if path.name.endswith(ending)]
    return validator(path)


if __name__ == "__main__":
    print(json.dumps({name: validated(Path(name)) for name in sys.argv[1:]}))
