#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh

systemctl daemon-reload
systemctl enable --quiet --now wcs-metadata
