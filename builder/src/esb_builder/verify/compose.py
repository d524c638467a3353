"""S22 on what ``docker compose config`` renders: in Firecracker mode the gateway is root, with a tunnel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from esb_builder.verify.verdict import Finding

TUN = "/dev/net/tun"
_WHERE = "services.gateway"
_FILE = "docker-compose.fc.yml"


def root_gateway(document: Mapping[str, Any]) -> Iterator[Finding]:
    """S22: user ``0:0``, /dev/net/tun, NET_ADMIN, its private key mounted read-only, and not every power.

    ``document`` is the output of ``docker compose … config --format json``.
    """
    gateway = document.get("services", {}).get("gateway", {})
    if gateway.get("user") != "0:0":
        yield _finding(f"its user is {gateway.get('user', 'not said')}, not 0:0", "user", 'user: "0:0"')
    if TUN not in [one.get("source") for one in gateway.get("devices", ())]:
        yield _finding(f"it does not get {TUN}", "devices", f"devices: [{TUN}]")
    if "NET_ADMIN" not in gateway.get("cap_add", ()):
        yield _finding("it may not make a network interface", "cap_add", "cap_add: [NET_ADMIN, …]")
    if "ALL" not in gateway.get("cap_drop", ()) or gateway.get("privileged"):
        yield _finding("this root has every power that the engine gives", "cap_drop", "cap_drop: [ALL]")
    mounts = {one.get("target"): one for one in gateway.get("volumes", ())}
    if not mounts.get("/etc/esb/tunnel", {}).get("read_only"):
        mend = "mount its side of ESB_TUNNEL_DIR at /etc/esb/tunnel, read-only"
        yield _finding("its side of the tunnel's keys is not mounted, or can be written", "volumes", mend)


def _finding(what: str, member: str, mend: str) -> Finding:
    return Finding(what, f"{_WHERE}.{member}", f"{_FILE}: {mend}")
