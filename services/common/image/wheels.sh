#!/bin/sh
# Runs an installer of Python packages (uv or pip) in a build step: wheels.sh COMMAND [ARGUMENT…]
#
# Where the stage `wheels` was replaced by a folder of wheels, only those are seen and no network is
# used; else the package index is asked (the one of the secret esb_index_url, or the installer's
# default). Trust while fetching: the image's own store and the certificates of the secret
# esb_build_ca. They meet in /tmp, which the step mounts as tmpfs, so that no layer keeps them.
set -eu

if [ -n "$(ls -A /run/wheels)" ]; then
    export UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=/run/wheels PIP_NO_INDEX=1 PIP_FIND_LINKS=/run/wheels
else
    cp /etc/ssl/certs/ca-certificates.crt /tmp/trust.pem
    if [ -s /run/secrets/esb_build_ca ]; then
        cat /run/secrets/esb_build_ca >>/tmp/trust.pem
    fi
    export SSL_CERT_FILE=/tmp/trust.pem REQUESTS_CA_BUNDLE=/tmp/trust.pem PIP_CERT=/tmp/trust.pem
    if [ -s /run/secrets/esb_index_url ]; then
        UV_DEFAULT_INDEX=$(cat /run/secrets/esb_index_url)
        PIP_INDEX_URL=$UV_DEFAULT_INDEX
        export UV_DEFAULT_INDEX PIP_INDEX_URL
    fi
fi
exec "$@"
