"""Firecracker's artefacts, as its project publishes them: the pins that a lock starts from.

These hashes were agreed on by several independent public users. 1.15.1 and not 1.16, whose
pause and resume can hang a guest's vsock (firecracker-microvm/firecracker#6074).
"""

from __future__ import annotations

from collections.abc import Mapping

from esb_builder.lock.model import Artefact, Pin

RELEASES = "firecracker-releases"
"""Mirror: the folder of the project's release downloads, with one folder per tag."""

GUESTS = "firecracker-guests"
"""Mirror: the root of the bucket in which the project keeps guest kernels."""

ARTEFACTS: Mapping[str, Mapping[str, Artefact]] = {
    "amd64": {
        "firecracker": Artefact(
            RELEASES,
            Pin(
                "v1.15.1",
                "d4a32ab2322d887ca1bc4a4e7afa9cc35393e6362dfc2b3becb389d362e4275a",
                7622285,
                "v1.15.1/firecracker-v1.15.1-x86_64.tgz",
            ),
        ),
        "guest-kernel": Artefact(
            GUESTS,
            Pin(
                "6.1.155",
                "e20e46d0c36c55c0d1014eb20576171b3f3d922260d9f792017aeff53af3d4f2",
                44279576,
                "firecracker-ci/v1.15/x86_64/vmlinux-6.1.155",
            ),
        ),
    },
    "arm64": {
        "firecracker": Artefact(
            RELEASES,
            Pin(
                "v1.15.1",
                "00654ac1e702a22744121ea9f10a4f792ebd7c3a744cba587dfac9fcb79b41a5",
                7422699,
                "v1.15.1/firecracker-v1.15.1-aarch64.tgz",
            ),
        ),
    },
}
"""By architecture. The guest kernel for arm64 is missing until its size is known: a lock names both."""
