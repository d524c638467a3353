#!/bin/sh
# Starts the gateway after looking at the one thing that a host gets wrong: whether this user can read the certificates.
set -eu

stop() {
    echo "esb-gateway: $1" >&2
    echo "  $2" >&2
    exit 5
}

certificates=${ESB_CERT_DIR:-$HOME/.esb/certs}
me=$(id -u)

[ "$me" -ne 0 ] || stop "it was started as root" "leave the image's own user in place (no --user 0)"
if [ -d "$certificates" ] && [ ! -x "$certificates" ]; then
    stop "user $me cannot enter $certificates, which belongs to $(stat -c %u:%g "$certificates")" \
        "build the gateway for that user: ESB_UID=$(stat -c %u "$certificates") ESB_GID=$(stat -c %g "$certificates") ./esb build gateway"
fi
for name in rootCA.crt gateway.crt gateway.key; do
    file=$certificates/$name
    [ -e "$file" ] || stop "there is no $file" "make it with './esb ca init' and mount its folder at $certificates, read-only"
    [ -r "$file" ] || stop "user $me cannot read $file, which belongs to $(stat -c '%u:%g, mode %a' "$file")" \
        "build the gateway for that user: ESB_UID=$(stat -c %u "$file") ESB_GID=$(stat -c %g "$file") ./esb build gateway"
done
export ESB_CERT_DIR="$certificates"
exec /app/.venv/bin/python -m esb_gateway "$@"
