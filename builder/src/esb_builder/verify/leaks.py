"""Nothing of the machine that built is in the image: its name, resolver, proxy, mirror or package index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from esb_builder.canonical.tidy import CONSTANT
from esb_builder.verify import recipes
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

MEND = "pass it as a build secret or to the engine; rebuild with ./esb build"

_PROXY = re.compile(r"(?<![a-z0-9])(?:https?|ftp|all|no)_proxy[\"']?\s*[=:]", re.IGNORECASE)
_APT_PROXY = re.compile(rb"Acquire::\w+::Proxy", re.IGNORECASE)
_SOURCES = re.compile(rb"^\s*(?:deb(?:-src)?\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(\S+)", re.MULTILINE)
_DEBIAN = re.compile(rb"https?://(deb|security|ftp|snapshot)\.debian\.org(/|$)")
_INDEX = re.compile(rb"index[-_]url|extra-index-url|find-links|trusted-host|\[\[index\]\]", re.IGNORECASE)
_APT = re.compile(
    r"etc/apt/(sources\.list|sources\.list\.d/.+|apt\.conf|apt\.conf\.d/.+|auth\.conf(\.d/.+)?)"
)
_SETTINGS = re.compile(
    r"(etc/pip\.conf|etc/uv/uv\.toml|(root|home/[^/]+)/(\.pip/pip\.conf|\.config/(pip/pip\.conf|uv/uv\.toml))|.*/\.venv/pip\.conf)"
)
_SHELL = re.compile(
    r"etc/(environment|profile|profile\.d/.+|wgetrc)|(root|home/[^/]+)/\.(curlrc|wgetrc|gitconfig|profile|bashrc)"
)


def nothing(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """What a build machine is known by, in files, in the configuration and in the Dockerfile."""
    yield from recipes.no_proxy(scene.recipe(subject))
    yield from _configured(subject.image.config)
    for path, constant in CONSTANT.items():
        content = subject.tree.read(path) if path in subject.tree.nodes else constant
        if content != constant:
            yield Finding("it tells of the machine that built", path, MEND)
    for path, node in subject.tree.nodes.items():
        read = node.kind == "file" and _interesting(path)
        if read and (told := _told(path, subject.tree.read(path) or b"")):
            yield Finding(told, path, MEND)


def _interesting(path: str) -> bool:
    return any(pattern.fullmatch(path) for pattern in (_APT, _SETTINGS, _SHELL))


def _told(path: str, content: bytes) -> str:
    if _APT.fullmatch(path):
        if _APT_PROXY.search(content):
            return "a proxy for apt is set"
        if "auth.conf" in path and content.strip():
            return "apt's credentials are in the image"
        return "a mirror is named" if any(not _DEBIAN.match(one) for one in _SOURCES.findall(content)) else ""
    if _SETTINGS.fullmatch(path) and _INDEX.search(content):
        return "a package index is named"
    return "a proxy is set" if _PROXY.search(content.decode(errors="replace")) else ""


def _configured(config: Mapping[str, object]) -> Iterator[Finding]:
    own = config.get("config")
    own = own if isinstance(own, dict) else {}
    for place, value in (
        ("config.Env", own.get("Env")),
        ("config.Labels", own.get("Labels")),
        ("config.Cmd", own.get("Cmd")),
        ("history", config.get("history")),
    ):
        if _PROXY.search(json.dumps(value)):
            yield Finding("a proxy is set", place, MEND)
    for place in ("Hostname", "Domainname"):
        if own.get(place):
            yield Finding("it tells of the machine that built", f"config.{place}", MEND)
