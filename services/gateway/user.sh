#!/bin/sh
# Makes the user that the gateway runs as, and the folders that named volumes take their owner from: user.sh UID GID
set -eu

for number in "$1" "$2"; do
    case $number in
    '' | *[!0-9]*)
        echo "ESB_UID and ESB_GID are numbers, not '$number'" >&2
        exit 1
        ;;
    esac
done
if [ "$1" -eq 0 ] || [ "$2" -eq 0 ]; then
    echo "the gateway never runs as root: build with ESB_UID and ESB_GID of the user who owns the certificates, or 10001:10001" >&2
    exit 1
fi
groupadd --non-unique --gid "$2" esb
useradd --non-unique --uid "$1" --gid "$2" --home-dir /home/esb --shell /usr/sbin/nologin --no-log-init esb
install -d -o "$1" -g "$2" -m 0700 /home/esb /home/esb/.esb /home/esb/.esb/certs /var/lib/esb
install -d -o "$1" -g "$2" -m 0750 /run/esb
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-
