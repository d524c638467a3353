"""A program of the tests: fetch files of one pool into a store, to be killed in the midst of it.

fetch_once.py FOLDER ADDRESS NAMES_AND_CONTENTS: a JSON object of name → [byte, length].
"""

import json
import sys
from pathlib import Path

from esb_builder.fetch import fetch
from esb_builder.voice import Recorded
from esb_common.errors import EsbError
from fetching import World
from local_web import Site

folder, address, described = sys.argv[1:]
contents = {name: bytes([byte]) * length for name, (byte, length) in json.loads(described).items()}
world = World(Site(address=address), Path(folder), contents, mirrors=f"guests={address}/guests")
try:
    done = fetch(world.finder(), Recorded())
except EsbError as error:
    sys.exit(f"{type(error).__name__} {error}")
print(done.files)
