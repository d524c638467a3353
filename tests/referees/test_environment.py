"""When the referees may be missing: only where the package index does not answer."""

import os
import socket

from esb_builder.voice import Recorded
from esb_cli.environments import Environments
from referees.conftest import ROOT, reaches_the_index


def test_an_index_that_nobody_serves_is_not_reached() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{free.getsockname()[1]}/simple"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        environments = Environments(
            ROOT, environ | {"UV_DEFAULT_INDEX": index, "UV_HTTP_RETRIES": "0"}, Recorded()
        )
        assert not reaches_the_index(environments)
