"""Builds images with every step run anew: ``cold_build.py CHECKOUT IMAGE…``; their ids as JSON.

The engine is named by DOCKER_HOST, everything else lies in ESB_HOME; no tag of the engine is touched.
"""

import json
import os
import sys
from pathlib import Path

from esb_builder import build
from esb_builder.engine import Engine
from esb_builder.voice import Recorded

if __name__ == "__main__":
    found = Engine(dict(os.environ), ours=False, prefix=None)
    shop = build.Workshop.from_environ(Path(sys.argv[1]), found, os.environ, Recorded())
    print(json.dumps(build.shelve(shop, sys.argv[2:], fresh=True)))
