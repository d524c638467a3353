#!/bin/sh
# Starts the gateway of the Firecracker mode: as root, once its side of the tunnel is up.
set -eu

stop() {
    echo "esb-gateway: $1" >&2
    echo "  $2" >&2
    exit 5
}

certificates=${ESB_CERT_DIR:-$HOME/.esb/certs}
me=$(id -u)

[ "$me" -eq 0 ] || stop "it was started as user $me, and making a tunnel takes root" \
    "start it as docker-compose.fc.yml does (user: \"0:0\"); in other modes use the image esb-gateway"
for name in rootCA.crt gateway.crt gateway.key; do
    file=$certificates/$name
    [ -e "$file" ] || stop "there is no $file" "make it with './esb ca init' and mount its folder at $certificates, read-only"
    [ -r "$file" ] || stop "root may not read $file, which belongs to $(stat -c '%u:%g, mode %a' "$file")" \
        "give the container the capability DAC_READ_SEARCH, as docker-compose.fc.yml does"
done
export ESB_CERT_DIR="$certificates"
exec esb-tunnel listen /app/.venv/bin/python -m esb_gateway "$@"
