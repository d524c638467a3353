"""Which Debian package has a shared library: what dpkg says, then a short list, else that we do not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from esb_builder.archive import Tree

KNOWN = {
    "libasound.so.2": "libasound2",
    "libatm.so.1": "libatm1",
    "libcairo.so.2": "libcairo2",
    "libcurl.so.4": "libcurl4",
    "libdb-5.3.so": "libdb5.3",
    "libexpat.so.1": "libexpat1",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libgdbm.so.6": "libgdbm6",
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libjpeg.so.62": "libjpeg62-turbo",
    "libkrb5.so.3": "libkrb5-3",
    "libldap-2.5.so.0": "libldap-2.5-0",
    "libmagic.so.1": "libmagic1",
    "libmariadb.so.3": "libmariadb3",
    "libnsl.so.2": "libnsl2",
    "libodbc.so.2": "libodbc2",
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libpng16.so.16": "libpng16-16",
    "libpq.so.5": "libpq5",
    "libsnappy.so.1": "libsnappy1v5",
    "libsodium.so.23": "libsodium23",
    "libtcl8.6.so": "libtcl8.6",
    "libtiff.so.6": "libtiff6",
    "libtirpc.so.3": "libtirpc3",
    "libtk8.6.so": "libtk8.6",
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libwebp.so.7": "libwebp7",
    "libX11.so.6": "libx11-6",
    "libxcb.so.1": "libxcb1",
    "libxml2.so.2": "libxml2",
    "libxslt.so.1": "libxslt1.1",
    "libyaml-0.so.2": "libyaml-0-2",
    "libzmq.so.5": "libzmq5",
}
"""Debian 12 packages of libraries that extension modules often need."""

_INFO = "var/lib/dpkg/info/"


def advice(soname: str, trees: Iterable[Tree]) -> str:
    """How to get a missing library into an image; honest where the package is not known."""
    package = next((found for tree in trees if (found := package_in(soname, tree))), KNOWN.get(soname))
    if package:
        return f"add {package} to the packages that the Dockerfile's production stage installs"
    return f"its Debian package is not known here; find it with: apt-file search {soname}"


def package_in(soname: str, tree: Tree) -> str | None:
    """The package that ships ``soname`` according to the dpkg database of an image."""
    for path, _ in tree.below(_INFO):
        package = path.removeprefix(_INFO).rpartition(".")[0].partition(":")[0]
        if path.endswith(".list") and soname in _shipped(tree.read(path) or b""):
            return package
    return None


def _shipped(listing: bytes) -> Iterator[str]:
    return (line.rpartition("/")[2] for line in listing.decode(errors="replace").splitlines())
