#!/bin/sh
exec @SETUP_LIBRARY@/fetch.py download websdk
