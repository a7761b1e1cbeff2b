"""Draw original | ground truth | prediction with the weights that trainuNet.py left: python inference.py."""

import sys

from maskwright.cli import run_script
from maskwright.commands.original import draw_original

if __name__ == "__main__":
    sys.exit(run_script(draw_original))
