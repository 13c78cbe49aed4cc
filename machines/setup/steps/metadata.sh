#!/bin/bash
set -euo pipefail

systemctl enable --quiet --no-reload --now wcs-metadata
