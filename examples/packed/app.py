"""A function with a C extension among its dependencies (requirements.lock)."""

import base64

import msgpack
from msgpack import _cmsgpack  # the compiled half: an ImportError here means a broken build


def handler(event, context):
    packed = msgpack.packb(event)
    return {
        "packed": base64.b64encode(packed).decode(),
        "bytes": len(packed),
        "compiled": _cmsgpack.__file__.endswith(".so"),
        "same": msgpack.unpackb(packed) == event,
    }
