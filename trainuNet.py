"""Train the classic U-Net on Kaggle's Carvana: python trainuNet.py --epochs 10 --batchsize 2 --lr 1e-4 --stepsize 5."""

import sys

from maskwright.cli import run_script
from maskwright.commands.original import train_original

if __name__ == "__main__":
    sys.exit(run_script(train_original))
