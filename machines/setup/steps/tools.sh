#!/bin/bash
set -euo pipefail

# Not among the packages: some dnf images have curl-minimal, which the package curl conflicts with.
if ! command -v curl >/dev/null; then
  if command -v apt-get >/dev/null; then apt-get install --yes curl; else dnf install --assumeyes curl; fi
fi
