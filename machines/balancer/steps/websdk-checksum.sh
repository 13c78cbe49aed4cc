#!/bin/sh
exec /usr/local/lib/wcs-setup/fetch.py checksum websdk
