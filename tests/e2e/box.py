"""A box started the way a user starts one: by `./esb up`, in a home and on a port of its own."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from esb_builder import engine
from esb_builder.voice import Recorded

ROOT = Path(__file__).parents[2]
WAIT_S = 60
UP_S = 900
PROJECT = "esb-test"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Box:
    """One box. ``esb`` runs a command of the launcher in its environment."""

    mode: str
    home: Path
    port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("ESB_", "AWS_"))}
        return ours | {
            "ESB_HOME": str(self.home),
            "ESB_PORT": str(self.port),
            "ESB_HTTP_PORT": str(self.http_port),
            "ESB_MODE": self.mode,
            "COMPOSE_PROJECT_NAME": PROJECT,
            **self.settings,
        }

    def esb(self, *args: str, code: int = 0, timeout_s: float = UP_S) -> str:
        """Standard output of a command that must end with ``code``."""
        done = subprocess.run(
            [ROOT / "esb", *args],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == code, (
            f"./esb {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self.esb(*args, "--json"))

    def variables(self) -> dict[str, str]:
        """What `./esb env` tells an AWS client."""
        found: dict[str, str] = self.json("env")
        return found

    def client(self, *, secret: str | None = None, **config: Any) -> Any:
        """A boto3 client that trusts nothing but the file that `./esb env` names."""
        told = self.variables()
        return boto3.session.Session().client(
            "lambda",
            endpoint_url=told["AWS_ENDPOINT_URL"],
            region_name=told["AWS_REGION"],
            aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret or told["AWS_SECRET_ACCESS_KEY"],
            verify=told["AWS_CA_BUNDLE"],
            config=Config(retries={"total_max_attempts": 1}, read_timeout=WAIT_S, **config),
        )

    def remove(self) -> None:
        """End it and remove its state; an engine that it used stays for the other tests."""
        if self.mode == "embedded":
            self.esb("down", "--volumes")
            return
        self.esb("down")
        found = engine.ensure(engine.Place.from_environ(self.environ), Recorded())
        ours = f"--filter=label=com.docker.compose.project={PROJECT}"
        # Containers are left where an earlier run was killed between starting the box and noting it.
        if containers := found.docker("ps", "--all", "--quiet", ours).stdout.split():
            found.docker("rm", "--force", *containers)
        if volumes := found.docker("volume", "ls", "--quiet", ours).stdout.split():
            found.docker("volume", "rm", *volumes)


def zipped(**files: str) -> bytes:
    """A zip whose members are ``app`` → ``app.py`` and so on."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return out.getvalue()
