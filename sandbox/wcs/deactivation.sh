#!/bin/bash
# Gives the licence back.
home=/usr/local/FlashphonerWebCallServer
rm $home/conf/flashphoner.license
echo deactivated >>$home/logs/license.log
