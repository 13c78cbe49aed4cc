#!/bin/bash
set -euo pipefail

# curl is not in the list of packages, since it conflicts with the curl-minimal of some dnf images.
if ! command -v curl >/dev/null; then
  if command -v apt-get >/dev/null; then apt-get install --yes curl; else dnf install --assumeyes curl; fi
fi
