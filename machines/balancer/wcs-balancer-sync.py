#!/usr/bin/python3
"""Keeps this balancer in the state that `pulumi up` asked for. The package wcs_balancer explains how."""

import sys

sys.path[:0] = ["/usr/local/lib", "@SETUP_LIBRARY@"]
from wcs_balancer.service import main

if __name__ == "__main__":
    sys.exit(main())
