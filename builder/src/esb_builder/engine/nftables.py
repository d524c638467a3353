"""Drops tables that ``iptables`` made and can only empty.

Debian's iptables keeps its rules in nftables. It creates ``filter`` and ``nat`` with their
built-in chains when first used and has no command to remove them; the one that has (``nft``)
is on few machines. So the kernel is asked directly: one netlink batch per table,
https://www.kernel.org/doc/html/latest/networking/netlink_spec/nftables.html
"""

from __future__ import annotations

import errno
import os
import socket
import struct

_NETFILTER = 12
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_DELETE_TABLE = _SUBSYSTEM << 8 | 2
_IPV4 = 2
_REQUEST, _ACKNOWLEDGE = 0x1, 0x4
_TABLE_NAME = 1
_ERROR = 2


def drop_table(name: str) -> None:
    """Remove the IPv4 table ``name`` with all in it; no error where nftables has none (older iptables)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
        kernel.settimeout(5)
        kernel.bind((0, 0))
        kernel.send(_batch(name))
        code = _answer(kernel.recv(65536))
    if code not in (0, errno.ENOENT):
        raise OSError(code, os.strerror(code), name)


def _batch(name: str) -> bytes:
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), _TABLE_NAME) + text + bytes(-len(text) % 4)
    begin = _message(_BATCH_BEGIN, _REQUEST, 1, socket.AF_UNSPEC, _SUBSYSTEM, b"")
    delete = _message(_DELETE_TABLE, _REQUEST | _ACKNOWLEDGE, 2, _IPV4, 0, attribute)
    return begin + delete + _message(_BATCH_END, _REQUEST, 3, socket.AF_UNSPEC, _SUBSYSTEM, b"")


def _message(kind: int, flags: int, sequence: int, family: int, resource: int, rest: bytes) -> bytes:
    body = struct.pack("=BB", family, 0) + struct.pack(">H", resource) + rest
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def _answer(packet: bytes) -> int:
    """The error number of an acknowledgement: 0 for done."""
    _, kind, _, _, _ = struct.unpack_from("=IHHII", packet)
    if kind != _ERROR:
        raise OSError(errno.EPROTO, "the kernel's answer is no acknowledgement")
    return -int(struct.unpack_from("=i", packet, 16)[0])
