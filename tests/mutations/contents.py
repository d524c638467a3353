"""Images that hold what none may: secrets, powers, strays, and traces of the machine that built them."""

from __future__ import annotations

import families
from esb_builder.ca import issue
from esb_builder.oci import Entry
from families import Family

from mutations.rows import SITE, Spoil, everywhere

KEY = issue.key_bytes(families.KEY)
# Put together here, so that no scanner of this repository takes them for real ones.
TOKEN = b"ghp_" + b"a1B2" * 9
ACCESS_KEY = b"AKIA" + b"Q3ZX" * 4
ADDRESS = b"https://maya:" + b"opensesame" + b"@packages.example/simple"


def put(image: str, path: str, content: bytes = b"", mode: int = 0o644) -> Spoil:
    """One more file in an image's topmost layer."""
    return lambda drafts: drafts[image].put(Entry(path, mode=mode, content=content))


def key_in_a_deleted_layer(drafts: Family) -> None:
    """The next layer deletes it again; whoever has the image has it all the same."""
    gateway = drafts["esb-gateway"]
    gateway.layers[-1]["build/signing.pem"] = Entry("build/signing.pem", content=KEY)
    gateway.layers.append({"build/.wh.signing.pem": Entry("build/.wh.signing.pem")})


def configure(image: str, member: str, value: object) -> Spoil:
    def spoil(drafts: Family) -> None:
        before = drafts[image].config.get(member)
        merged = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
        drafts[image].config[member] = merged

    return spoil


def set_uid(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry("usr/local/bin/uv", mode=0o4755, content=families.elf()))


def other_mode_of_a_listed_program(drafts: Family) -> None:
    drafts["esb-os-base"].put(Entry("usr/bin/passwd", mode=0o6755, content=families.elf()))


def open_code(drafts: Family) -> None:
    drafts["esb-gateway"].alter("app/services/gateway/src/esb_gateway/__init__.py", mode=0o666)


def open_folder(drafts: Family) -> None:
    drafts["esb-runtime-node"].put(Entry("var/lib/esb", "directory", 0o777))


def stray_library(drafts: Family) -> None:
    everywhere(drafts, "usr/local/bin/python3.12", mode=0o755)
    drafts["esb-lambda-python"].put(Entry("usr/local/lib/python3.12/sitecustomize.py"))


def package_without_its_record(drafts: Family) -> None:
    drafts["esb-gateway"].put(Entry(f"{SITE}/left/__init__.py", content=b""))


MUTATIONS: list[tuple[str, str, Spoil, str]] = [
    ("secrets", "esb-gateway", key_in_a_deleted_layer, "a private key is in a layer"),
    ("secrets", "esb-runtime-node", put("esb-runtime-node", "etc/esb/node.conf", KEY), "a private key"),
    ("secrets", "esb-os-base", put("esb-os-base", "usr/lib/x", families.elf() + KEY), "a private key"),
    ("secrets", "esb-gateway", put("esb-gateway", "app/notes", TOKEN), "a GitHub token"),
    ("secrets", "esb-gateway", put("esb-gateway", "app/notes", b"id=" + ACCESS_KEY), "an AWS access key"),
    ("secrets", "esb-gateway", put("esb-gateway", "etc/pip.conf", ADDRESS), "a password in an address"),
    ("secrets", "esb-gateway", put("esb-gateway", "app/.env", b"ESB_PORT=1\n"), "a file of this name"),
    ("secrets", "esb-gateway", put("esb-gateway", "root/.netrc", b"machine x"), "a file of this name"),
    ("secrets", "esb-os-base", put("esb-os-base", "tmp/rootca.crt"), "an empty file where a secret"),
    ("secrets", "esb-gateway", put("esb-gateway", "srv/esb_index_url"), "an empty file where a secret"),
    ("secrets", "esb-os-base", put("esb-os-base", "run/secrets/esb_root_ca"), "stayed in a layer"),
    (
        "secrets",
        "esb-gateway",
        configure("esb-gateway", "Env", ["PATH=/bin", "DB_PASSWORD=opensesame"]),
        "DB_PASSWORD carries a secret",
    ),
    (
        "secrets",
        "esb-gateway",
        configure("esb-gateway", "Labels", {"built.with": TOKEN.decode()}),
        "a GitHub token is in the image's configuration",
    ),
    ("powers", "esb-gateway", set_uid, "a set-uid program, mode 4755"),
    ("powers", "esb-runtime-node", put("esb-runtime-node", "usr/bin/wall", mode=0o2755), "a set-gid program"),
    ("powers", "esb-os-base", other_mode_of_a_listed_program, "mode 6755"),
    ("writable", "esb-gateway", open_code, "mode 0666"),
    ("writable", "esb-runtime-node", open_folder, "mode 0777"),
    (
        "editable",
        "esb-gateway",
        put("esb-gateway", f"{SITE}/dev.pth", b"/src/gateway\n"),
        "where this file says",
    ),
    (
        "editable",
        "esb-gateway",
        put("esb-gateway", f"{SITE}/__editable___x_finder.py"),
        "where this file says",
    ),
    (
        "editable",
        "esb-runtime-node",
        put(
            "esb-runtime-node",
            f"{SITE}/x-1.dist-info/direct_url.json",
            b'{"url": "file:///src/x", "dir_info": {"editable": true}}',
        ),
        "from a folder of the build",
    ),
    ("origin", "esb-gateway", put("esb-gateway", "usr/bin/nc", families.elf(), 0o755), "owns this file"),
    ("origin", "esb-os-base", put("esb-os-base", "opt/tool"), "owns this file"),
    ("origin", "esb-lambda-python", stray_library, "owns this file"),
    ("origin", "esb-gateway", package_without_its_record, "owns this file"),
    ("leaks", "esb-os-base", put("esb-os-base", "etc/hostname", b"build-17\n"), "the machine that built"),
    ("leaks", "esb-gateway", put("esb-gateway", "etc/resolv.conf", b"nameserver 10.1.2.3\n"), "that built"),
    (
        "leaks",
        "esb-os-base",
        put("esb-os-base", "etc/apt/sources.list", b"deb http://mirror.example/debian bookworm main\n"),
        "a mirror is named",
    ),
    (
        "leaks",
        "esb-os-base",
        put("esb-os-base", "etc/apt/apt.conf.d/99proxy", b'Acquire::http::Proxy "http://10.0.0.1";\n'),
        "a proxy for apt",
    ),
    (
        "leaks",
        "esb-gateway",
        put("esb-gateway", "etc/pip.conf", b"[global]\nindex-url = https://index.example/simple\n"),
        "a package index is named",
    ),
    (
        "leaks",
        "esb-gateway",
        configure("esb-gateway", "Env", ["https_proxy=http://10.0.0.1:3128"]),
        "a proxy is set",
    ),
    (
        "leaks",
        "esb-runtime-node",
        put("esb-runtime-node", "etc/environment", b"HTTP_PROXY=http://10.0.0.1:3128\n"),
        "a proxy is set",
    ),
    ("leaks", "esb-gateway", configure("esb-gateway", "Hostname", "build-17"), "the machine that built"),
]
