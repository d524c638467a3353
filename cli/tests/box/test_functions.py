import base64
import json
import os
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from esb_cli.box.functions import package, read_folder
from esb_common.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "hello"
    (root / "inner").mkdir(parents=True)
    (root / "app.py").write_text("def handler(event, context): return event\n")
    (root / "inner/data.txt").write_text("data")
    (root / "function.json").write_text(json.dumps({"FunctionName": "hello", "Handler": "app.handler"}))
    (root / "requirements.lock").write_text("")
    (root / "__pycache__").mkdir()
    (root / "__pycache__/app.pyc").write_bytes(b"")
    return root


def names(content: bytes) -> list[str]:
    return zipfile.ZipFile(BytesIO(content)).namelist()


def test_a_package_holds_the_code_and_nothing_else(folder: Path) -> None:
    assert names(read_folder(folder).package) == ["app.py", "inner/data.txt"]


def test_dependencies_lie_beside_the_code(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "site/msgpack").mkdir(parents=True)
    (tmp_path / "site/msgpack/__init__.py").write_text("")
    packed = read_folder(folder, tmp_path / "site").package
    assert names(packed) == ["app.py", "inner/data.txt", "msgpack/__init__.py"]


def test_the_same_files_give_the_same_bytes_whatever_their_times(folder: Path) -> None:
    first = package([folder])
    os.utime(folder / "app.py", (1, 1))
    (folder / "app.py").chmod(0o600)
    assert package([folder]) == first


def test_an_executable_stays_executable(folder: Path) -> None:
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    entry = zipfile.ZipFile(BytesIO(package([folder]))).getinfo("tool")
    assert entry.external_attr >> 16 == 0o755


def test_the_hash_is_as_aws_writes_it(folder: Path) -> None:
    assert len(base64.b64decode(read_folder(folder).code_sha256)) == 32


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"FunctionName": 5}'])
def test_a_description_that_names_no_function_is_refused(folder: Path, text: str) -> None:
    (folder / "function.json").write_text(text)
    with pytest.raises(BadInput, match=r"function\.json"):
        read_folder(folder)


def test_a_folder_without_a_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no function\.json"):
        read_folder(tmp_path)
