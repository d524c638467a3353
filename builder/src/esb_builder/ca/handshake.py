"""The proof that counts: a TLS client that trusts only the root accepts this server.

Server and client speak in memory, so chain, dates, key, usage and name are judged by the same
OpenSSL that clients use, and nothing listens.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def complaint(root: Path, certificate: Path, key: Path, name: str = "localhost") -> str | None:
    """What a client that trusts ``root`` says against the server; None where it accepts it."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        server_side.load_cert_chain(certificate, key)
        client_side.load_verify_locations(cafile=str(root))
        _shake(client_side, server_side, name)
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        return error.reason or str(error)
    return None


def _shake(client_side: ssl.SSLContext, server_side: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _round in range(4):
        done = [_advance(client), _advance(server)]
        if all(done):
            return
    raise ssl.SSLError("the handshake does not end")


def _advance(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
