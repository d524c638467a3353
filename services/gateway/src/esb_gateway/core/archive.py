"""Is this upload a deployment package? Decided on the bytes, without unpacking to disk.

Limits are AWS's (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html). Every
member is inflated once, in small parts, because the declared sizes are the uploader's word.
Cost: 250 MB inflate in about a second; run it in a thread.
"""

from __future__ import annotations

import io
import stat
import unicodedata
import zipfile
import zlib

from esb_gateway.core.errors import InvalidParameterValue

MAX_ZIPPED = 52_428_800
MAX_UNZIPPED = 262_144_000
MAX_MEMBERS = 100_000
PART = 256 * 1024
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check(content: bytes) -> None:
    """InvalidParameterValue where ``content`` cannot be a function's code."""
    if len(content) > MAX_ZIPPED:
        raise InvalidParameterValue(f"Zipped size must be smaller than {MAX_ZIPPED} bytes")
    if not content:
        raise InvalidParameterValue("Uploaded file must be a non-empty zip")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        raise InvalidParameterValue(
            "Could not unzip uploaded file. Please check your file, then try to upload again."
        ) from None


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if not members:
        raise InvalidParameterValue("Uploaded file must be a non-empty zip")
    if len(members) > MAX_MEMBERS:
        raise InvalidParameterValue(f"The zip must hold at most {MAX_MEMBERS} members")
    if sum(member.file_size for member in members) > MAX_UNZIPPED:
        raise _too_large()
    files: set[str] = set()
    folders: set[str] = set()
    for member in members:
        _check_name(member, files, folders)
    clash = files & folders
    if clash:
        raise InvalidParameterValue(f"The zip holds {min(clash)!r} as a file and as a folder")
    total = 0
    for member in members:
        total += _inflate(archive, member, MAX_UNZIPPED - total)


def _check_name(member: zipfile.ZipInfo, files: set[str], folders: set[str]) -> None:
    name = member.filename
    parts = name.rstrip("/").split("/")
    if member.orig_filename != name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise InvalidParameterValue(f"The zip holds a path that leads astray: {member.orig_filename[:200]!r}")
    if any(len(part.encode(errors="surrogatepass")) > 255 for part in parts) or len(name) > 4000:
        raise InvalidParameterValue(f"The zip holds a path that is too long: {name[:200]!r}")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise InvalidParameterValue(f"The zip holds a path with control characters: {name[:200]!r}")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.create_system == 3 and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidParameterValue(f"The zip holds a link or device: {name[:200]!r}")
    if member.flag_bits & 0x1 or member.compress_type not in METHODS:
        raise InvalidParameterValue(f"The zip holds an encrypted or unusually packed file: {name[:200]!r}")
    path = "/".join(parts)
    folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    if member.is_dir():
        folders.add(path)
    elif path in files:
        raise InvalidParameterValue(f"The zip holds {path[:200]!r} twice")
    else:
        files.add(path)


def _inflate(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> int:
    """Read a member to its end, which checks its CRC; the number of its bytes."""
    size = 0
    with archive.open(member) as stream:
        while part := stream.read(PART):
            size += len(part)
            if size > room:
                raise _too_large()
    return size


def _too_large() -> InvalidParameterValue:
    return InvalidParameterValue(f"Unzipped size must be smaller than {MAX_UNZIPPED} bytes")
