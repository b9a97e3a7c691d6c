#!/bin/sh
# Writes how long the name of one fruit is. Submitted alone it says what it needs:
#ENTROPY --name measure --cpus 1 --run-timeout 1m --artifact length.txt
printf %s "$1" | wc -c | tr -d ' ' > length.txt
echo "$1 has $(cat length.txt) letters"
