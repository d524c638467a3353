"""The gateway's TLS: certificate and key from files, TLS 1.2 or newer."""

from __future__ import annotations

import ssl
from pathlib import Path

from esb_common.errors import BadInput


def server_context(folder: Path) -> ssl.SSLContext:
    """A context from ``gateway.crt`` and ``gateway.key`` in ``folder``; BadInput says what is wrong."""
    certificate, key = folder / "gateway.crt", folder / "gateway.key"
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadInput(
                f"{path} cannot be read: {error.strerror}",
                "run: esb ca init; the files must be readable by the gateway's user (ESB_UID)",
            ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise BadInput(
            f"{certificate} and {key} are no usable pair: {error}",
            "they are PEM, without a password, and belong together; run: esb ca init",
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("the key is protected by a password")
