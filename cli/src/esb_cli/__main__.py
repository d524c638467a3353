"""``python -m esb_cli``, as the launcher runs it."""

import os
import sys

from esb_cli.app import main

sys.exit(main(sys.argv[1:], os.environ))
