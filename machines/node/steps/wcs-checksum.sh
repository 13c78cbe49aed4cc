#!/bin/sh
exec @SETUP_LIBRARY@/fetch.py checksum wcs
