#!/bin/bash
set -euo pipefail

version=$(haproxy -v | sed -n '1s/^HAProxy version \([0-9.]*\).*/\1/p')
if [[ $(printf '%s\n' 3.0 "$version" | sort --version-sort | head --lines=1) != 3.0 ]]; then
  echo "HAProxy is $version; the balancer needs 3.0 or newer: choose another balancerAmi" >&2
  false
fi
