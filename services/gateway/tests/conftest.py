"""A whole gateway beside an in-process node: real TLS, real sockets, real files, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import ssl
import threading
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from callers import KNOWN, signed, write_credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from esb_common.log import Log
from esb_gateway.app import Gateway
from esb_gateway.hands.tls import server_context
from esb_gateway.settings import Settings
from esb_gateway.testing import Behaviour, MemoryNode, Runtime, RuntimeEnded, echo, package

ROLE = "arn:aws:iam::000000000000:role/any"
PATIENCE_S = 20.0
SESSION = boto3.Session()


def write_certificates(folder: Path) -> Path:
    """``rootCA.crt``, ``gateway.crt`` and ``gateway.key`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)

    def begin(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    root = begin("test CA", ca_key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = begin("gateway", key.public_key()).add_extension(x509.SubjectAlternativeName(names), False)
    pem = serialization.Encoding.PEM
    (folder / "rootCA.crt").write_bytes(root.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (folder / "gateway.crt").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    (folder / "gateway.key").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return folder


class Box:
    """A running gateway and its node; ``run`` does something in their loop."""

    def __init__(self, folder: Path, certificates: Path, environ: Mapping[str, str]) -> None:
        self.certificates = certificates
        self.environ = {
            "ESB_DATA_DIR": str(folder / "data"),
            "ESB_RUN_DIR": str(folder / "run"),
            "ESB_CERT_DIR": str(certificates),
            "ESB_CREDENTIALS_DIR": str(write_credentials(folder / "credentials")),
            "ESB_PORT": "0",
            "ESB_MODE": "embedded",
            **environ,
        }
        self.settings = Settings.read(self.environ, 8192)
        self.behaviours: dict[str, Behaviour] = dict(BEHAVIOURS)
        store = self.settings.data_dir / "store"
        self.node = MemoryNode(self.settings.run_dir / "node.sock", store, self.behaviours)
        self.port = 0
        self.ports: list[int] = []
        """Of all listeners, in their order."""
        self._client: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stopped = asyncio.Event()
        self._gateway: asyncio.Task[None] | None = None

    def run[T](self, work: Coroutine[Any, Any, T], seconds: float = PATIENCE_S) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def up(self, *, node: bool = True) -> None:
        """Start the node and the gateway, and wait until they have met."""
        self.run(self._up(node))

    async def _up(self, node: bool) -> None:
        if node:
            await self.node.open()
        self._stopped = asyncio.Event()
        listening: asyncio.Future[int] = self._loop.create_future()

        def listens(_: str, port: int) -> None:
            self.ports.append(port)
            if not listening.done():
                listening.set_result(port)

        gateway = Gateway(self.settings, server_context(self.certificates), Log("gateway"))
        run = gateway.run(self._stopped, listens)
        self._gateway = asyncio.create_task(run)
        begun: list[asyncio.Future[Any]] = [self._gateway, listening]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if self._gateway.done():
            await self._gateway
        self.port = await listening

    def stop_gateway(self) -> None:
        self.run(self._stop_gateway())

    async def _stop_gateway(self) -> None:
        self._stopped.set()
        if self._gateway is not None:
            gateway, self._gateway = self._gateway, None
            await gateway

    def down(self) -> None:
        self.stop_gateway()
        self.run(self.node.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    # --- clients ---

    @property
    def http_port(self) -> int:
        return self.ports[1]

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificates / "rootCA.crt"))

    def client(self) -> Any:
        """A boto3 client that sends what it is given: the gateway judges, not botocore."""
        if self._client is None or self._client.meta.endpoint_url != f"https://localhost:{self.port}":
            self._client = SESSION.client(
                "lambda",
                endpoint_url=f"https://localhost:{self.port}",
                region_name="us-east-1",
                aws_access_key_id=KNOWN.access_key_id,
                aws_secret_access_key=KNOWN.secret_access_key,
                verify=str(self.certificates / "rootCA.crt"),
                config=Config(
                    retries={"max_attempts": 0}, max_pool_connections=50, parameter_validation=False
                ),
            )
        return self._client

    def open(self, path: str, *, sign: bool = True, **headers: str) -> Any:
        """The answer to a GET, signed unless asked otherwise."""
        url = path if path.startswith("https:") else f"https://localhost:{self.port}{path}"
        request = urllib.request.Request(url, headers=headers | (signed(url) if sign else {}))
        return urllib.request.urlopen(request, context=self.tls(), timeout=PATIENCE_S)

    def get(self, path: str, *, sign: bool = True) -> bytes:
        with self.open(path, sign=sign) as response:
            content: bytes = response.read()
            return content

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.get("/_esb/status"))
        return status

    def create(self, name: str = "f", handler: str = "app.echo", **members: Any) -> dict[str, Any]:
        given = {"Runtime": "python3.12", "Role": ROLE, "Code": {"ZipFile": package()}} | members
        made: dict[str, Any] = self.client().create_function(FunctionName=name, Handler=handler, **given)
        return made

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that changes when workers come and go."""
        self.run(self.node.until(condition, PATIENCE_S))


# --- workers ------------------------------------------------------------------------------


async def speaks(runtime: Runtime) -> int:
    """Prints two lines for each event, the second without its end being due."""
    while True:
        invocation = await runtime.next()
        runtime.print(f"got {invocation.payload.decode()}")
        runtime.print("bye")
        await runtime.respond(invocation.request, b'"said"')


async def raises(runtime: Runtime) -> int:
    while True:
        invocation = await runtime.next()
        error = {"errorMessage": "no", "errorType": "ValueError", "stackTrace": []}
        await runtime.fail(invocation.request, error)


async def import_error(runtime: Runtime) -> int:
    message = "Unable to import module 'app': No module named 'app'"
    await runtime.init_error({"errorMessage": message, "errorType": "Runtime.ImportModuleError"})
    return 1


async def exits_at_once(_: Runtime) -> int:
    return 7


async def exits_in_handler(runtime: Runtime) -> int:
    await runtime.next()
    return 1


async def killed(runtime: Runtime) -> int:
    await runtime.next()
    raise RuntimeEnded(9)


async def out_of_memory(runtime: Runtime) -> int:
    await runtime.next()
    raise RuntimeEnded(9, out_of_memory=True)


async def hangs(runtime: Runtime) -> int:
    await runtime.next()
    await asyncio.Event().wait()
    return 0


async def never_polls(_: Runtime) -> int:
    await asyncio.Event().wait()
    return 0


async def too_large(runtime: Runtime) -> int:
    while True:
        invocation = await runtime.next()
        reply = await runtime.respond(invocation.request, b'"' + b"x" * 6_291_556 + b'"')
        assert reply.status == 413
        await runtime.disconnect()


async def context(runtime: Runtime) -> int:
    """Returns the headers of its invocation and its configuration."""
    while True:
        invocation = await runtime.next()
        shown = {"headers": dict(invocation.headers), "environment": dict(runtime.blob.environment)}
        await runtime.respond(invocation.request, json.dumps(shown).encode())


async def one_connection_each(runtime: Runtime) -> int:
    """As a shell runtime: a connection per call."""
    while True:
        invocation = await runtime.next()
        await runtime.disconnect()
        await runtime.respond(invocation.request, invocation.payload)
        await runtime.disconnect()


async def slow(runtime: Runtime) -> int:
    """Takes the number of seconds that its event says."""
    while True:
        invocation = await runtime.next()
        await asyncio.sleep(json.loads(invocation.payload))
        await runtime.respond(invocation.request, invocation.payload)


BEHAVIOURS: Mapping[str, Behaviour] = {
    "app.echo": echo,
    "app.speaks": speaks,
    "app.raises": raises,
    "app.import_error": import_error,
    "app.exits_at_once": exits_at_once,
    "app.exits_in_handler": exits_in_handler,
    "app.killed": killed,
    "app.out_of_memory": out_of_memory,
    "app.hangs": hangs,
    "app.never_polls": never_polls,
    "app.too_large": too_large,
    "app.context": context,
    "app.one_connection_each": one_connection_each,
    "app.slow": slow,
}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


MakeBox = Callable[..., Box]


@pytest.fixture
def make_box(tmp_path: Path, certificates: Path) -> Iterator[MakeBox]:
    """Boxes with settings of their own; all end with the test."""
    with contextlib.ExitStack() as stack:

        def make(*, node: bool = True, **environ: str) -> Box:
            box = Box(tmp_path, certificates, environ)
            stack.callback(box.down)
            box.up(node=node)
            return box

        yield make


@pytest.fixture
def box(make_box: MakeBox) -> Box:
    return make_box()
