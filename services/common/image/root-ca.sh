#!/bin/sh
# Judges the secret esb_root_ca and bakes it into the trust store, or stops the build and says why.
#
# root-ca.sh bake|same SHA256
#   bake  installs the certificate and rebuilds the store (os-base)
#   same  demands that the store below already holds exactly this certificate (images on top)
# SHA256 is that of the file. It is an argument because a build cache does not look into secrets:
# without it a rotated certificate would silently leave the old one in the image.
set -eu

secret=/run/secrets/esb_root_ca
baked=/usr/local/share/ca-certificates/esb-rootCA.crt

refuse() {
    echo "esb_root_ca: $1" >&2
    exit 1
}

seconds() {
    date -d "$(openssl x509 -in "$secret" -noout "-$1" | cut -d= -f2)" +%s
}

[ -s "$secret" ] || refuse "the file is empty"
! grep -q 'PRIVATE KEY' "$secret" || refuse "the file holds a private key; give the certificate alone"
count=$(grep -c -e '-----BEGIN CERTIFICATE-----' "$secret" || true)
[ "$count" = 1 ] || refuse "expected exactly one PEM certificate, found $count"
openssl x509 -in "$secret" -noout 2>/dev/null || refuse "the certificate cannot be parsed"
openssl x509 -in "$secret" -noout -ext basicConstraints 2>/dev/null | grep -q 'CA:TRUE' ||
    refuse "not a certificate authority (basicConstraints has no CA:TRUE)"
now=$(date +%s)
[ "$(seconds enddate)" -gt "$now" ] || refuse "the certificate expired on $(openssl x509 -in "$secret" -noout -enddate | cut -d= -f2)"
[ "$(seconds startdate)" -le "$now" ] || refuse "the certificate is not valid before $(openssl x509 -in "$secret" -noout -startdate | cut -d= -f2)"
echo "$2  $secret" | sha256sum --quiet -c - 2>/dev/null ||
    refuse "the file is not the one that ESB_ROOT_CA_SHA256 names; pass --build-arg ESB_ROOT_CA_SHA256=$(sha256sum "$secret" | cut -d' ' -f1)"

case $1 in
bake)
    install -D -m 0644 "$secret" "$baked"
    update-ca-certificates
    ;;
same)
    cmp -s "$secret" "$baked" || refuse "the base image carries another root CA; build esb-os-base again first"
    ;;
*)
    refuse "unknown action $1"
    ;;
esac
