"""S6 and the still parts of S5, S12, S18 and S21: what lies in /app, what starts it, and who runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from esb_builder.archive import Node
from esb_builder.verify import elf, recipes
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

CERTIFICATES = "home/esb/.esb/certs"
ENTRYPOINT = "app/entrypoint.sh"
UV = "usr/local/bin/uv"
_VENV = "app/.venv"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_INSTALLED = re.compile(
    r"app/\.venv/lib/python3\.12/site-packages/(?P<name>[^/]+?)-(?P<version>[^/-]+)\.dist-info/METADATA"
)
_MODULE = re.compile(r"(?P<folder>.*)/__pycache__/(?P<name>[^/.]+)\.cpython-312(\.opt-\d)?\.pyc")


@dataclass(frozen=True, slots=True)
class Service:
    """What one service's image may hold below /app beside its venv."""

    folder: str
    package: str

    @property
    def files(self) -> tuple[str, ...]:
        """Files that must be there."""
        below = f"app/services/{self.folder}"
        return ("app/entrypoint.sh", f"{below}/pyproject.toml", f"{below}/requirements.lock")

    @property
    def sources(self) -> tuple[str, ...]:
        """Packages whose Python modules may be there, and no other file."""
        return ("app/services/common/src/esb_common", f"app/services/{self.folder}/src/{self.package}")


SERVICES = {
    "esb-gateway": Service("gateway", "esb_gateway"),
    "esb-runtime-node": Service("runtime-node", "esb_node"),
    "esb-gateway:firecracker": Service("gateway", "esb_gateway"),
    "esb-runtime-node:firecracker": Service("runtime-node", "esb_node"),
}


def only_its_own(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S6: /app is exactly the venv, ``services/common``, the service itself and ``entrypoint.sh``."""
    service = SERVICES[subject.name]
    nodes = subject.tree.nodes
    for path in (*service.files, *(f"{package}/__init__.py" for package in service.sources)):
        if path not in nodes:
            yield Finding("a file of the service is missing", path, f"./esb build {subject.name}")
    if f"{_VENV}/bin/python" not in nodes:
        yield Finding("there is no venv", _VENV, f"./esb build {subject.name}")
    for path, node in subject.tree.below("app"):
        if not _belongs(path, node, service, nodes):
            yield Finding(
                "a file that is not the service's own is in the image",
                path,
                "narrow the Dockerfile's COPY and .dockerignore",
            )


def locked_dependencies(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S5: the Dockerfile resolves from the service's own lock, and the venv holds exactly what it names."""
    yield from recipes.own_dependencies(subject, scene)
    service = SERVICES.get(subject.name)
    if service is None:
        return
    lock = f"app/services/{service.folder}/requirements.lock"
    wanted = set(_PIN.findall((subject.tree.read(lock) or b"").decode(errors="replace")))
    matches = (_INSTALLED.fullmatch(path) for path in subject.tree.nodes)
    found = {(match["name"], match["version"]) for match in matches if match}
    for name, version in sorted(_normal(found) ^ _normal(wanted)):
        where = "the lock lacks it" if (name, version) in _normal(found) else "the venv lacks it"
        yield Finding(f"{name} {version}: {where}", lock, f"./esb build {subject.name}")


def started_by_entrypoint(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S12: prod takes the venv and the two trees, and ``/app/entrypoint.sh`` starts the service."""
    yield from recipes.prod_stage(subject, scene)
    entrypoint = subject.image.config.get("config", {}).get("Entrypoint")
    if entrypoint != [f"/{ENTRYPOINT}"]:
        yield Finding(f"{entrypoint or 'nothing'} starts the service", "config.Entrypoint", f"/{ENTRYPOINT}")
    node = subject.tree.nodes.get(ENTRYPOINT)
    if node is None or node.kind != "file" or node.mode & 0o555 != 0o555:
        yield Finding("not everybody may run what starts the service", ENTRYPOINT, "COPY --chmod=0755")


def carries_uv(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S18: ``/usr/local/bin/uv`` is a program that everybody may run."""
    node = subject.tree.nodes.get(UV)
    if node is None or node.kind != "file":
        yield Finding("uv is not in the image", UV, "COPY --from=uv /usr/local/bin/uv /usr/local/bin/uv")
    elif node.mode & 0o555 != 0o555 or subject.tree.open(node).read(4) != elf.MAGIC:
        yield Finding(f"uv is no program that everybody may run, mode {node.mode:04o}", UV, "see uv.sh")


def _normal(packages: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in packages}


def _belongs(path: str, node: Node, service: Service, nodes: Mapping[str, Node]) -> bool:
    if path == _VENV or path.startswith(f"{_VENV}/"):
        return True
    if node.kind == "directory":
        wanted = (*service.files, *(f"{package}/" for package in service.sources))
        return any(one.startswith(f"{path}/") for one in wanted) or _in_sources(path, service)
    return path in service.files or (_in_sources(path, service) and _is_module(path, nodes))


def _in_sources(path: str, service: Service) -> bool:
    return any(path == package or path.startswith(f"{package}/") for package in service.sources)


def _is_module(path: str, nodes: Mapping[str, Node]) -> bool:
    """A Python module, or byte code of one that is there; tests are not part of a program."""
    if compiled := _MODULE.fullmatch(path):
        return f"{compiled['folder']}/{compiled['name']}.py" in nodes
    return path.endswith((".py", ".pyi", "/py.typed")) and "/tests/" not in path


def not_root(subject: Subject, _scene: Scene) -> Iterator[Finding]:
    """S21: the image's user is a number, is not root, and owns the place of the certificates."""
    user = str(subject.image.config.get("config", {}).get("User", ""))
    mend = "build with ESB_UID and ESB_GID of the user who owns the certificates"
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
        yield Finding(f"its user is {user or 'root (none is set)'}", "config.User", mend)
        return
    uid, gid = map(int, user.split(":"))
    node = subject.tree.nodes.get(CERTIFICATES)
    if node is None or (node.uid, node.gid) != (uid, gid):
        owner = f"{node.uid}:{node.gid}" if node else "nobody"
        yield Finding(f"the certificates' place belongs to {owner}, the user is {user}", CERTIFICATES, mend)
