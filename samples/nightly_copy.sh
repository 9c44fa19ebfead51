#!/bin/sh
# Copies a folder to another machine, every night. Nothing is ever deleted there.
#
# On the receiving machine:   objxfer serve /srv/backup --if-exists replace -q
# On this one, in crontab -e: 15 2 * * *   /path/to/nightly_copy.sh ~/documents tls://nas/laptop
#
# All well: no output, so no mail. Otherwise cron mails what went wrong, and how it ended.
set -eu
folder=$1 target=$2

tries=3
while :; do
    objxfer send -q "$folder" --to "$target" && exit 0
    code=$?
    case $code in
        10 | 11 | 12) tries=$((tries - 1)) ;; # not there, lost, silent: worth another try
        4 | 5) exit 0 ;;                      # a file changed or vanished meanwhile: next night
        *) exit "$code" ;;
    esac
    [ "$tries" -gt 0 ] || exit "$code"
    sleep "${PAUSE:-600}"
done
