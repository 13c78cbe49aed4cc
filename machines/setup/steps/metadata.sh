#!/bin/bash
set -euo pipefail

systemctl daemon-reload
systemctl enable --quiet --now wcs-metadata
