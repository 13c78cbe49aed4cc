#!/usr/bin/python3
"""The command for operators: wcs_balancer/command.py."""

import sys

sys.path.insert(0, "/usr/local/lib")
from wcs_balancer.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
