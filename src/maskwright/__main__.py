"""`python -m maskwright`."""

import os
import sys

from maskwright.cli import main
from maskwright.device import local_rank

code = main()
if local_rank() is not None:
    # Of a run of several processes: gloo's threads may still be there, and would abort the interpreter while it ends.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
sys.exit(code)
