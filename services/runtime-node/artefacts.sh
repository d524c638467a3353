#!/bin/sh
# Installs Firecracker, its jailer and the guest kernel from /run/artefacts: artefacts.sh pinned|stand-ins
#   pinned     the files are those of artefacts.sha256
#   stand-ins  other files under the same names, as the folder's own stand-ins.sha256 lists them
# What was taken is written down beside the kernel, where the node's driver reads it.
set -eu

given=/run/artefacts
kept=/usr/local/share/firecracker
machine=$(uname -m)

refuse() {
    echo "Firecracker's artefacts: $1" >&2
    echo "  bring the pinned files with './esb fetch', or give a folder that holds them: './esb build --artefacts DIR'" >&2
    echo "  (with plain docker build: --build-context artefacts=DIR)" >&2
    exit 1
}

[ -n "$(ls -A "$given")" ] || refuse "none were given"
case $1 in
pinned) sums=/run/artefacts.sha256 ;;
stand-ins) sums=$given/stand-ins.sha256 ;;
*) refuse "ESB_ARTEFACTS_KIND is '$1', neither pinned nor stand-ins" ;;
esac
[ -s "$sums" ] || refuse "$(basename "$sums") is not in the folder"
grep -- "-$machine\(\.tgz\)\?\$" "$sums" >/tmp/wanted || refuse "none are named for $machine in $(basename "$sums")"
while read -r _ name; do
    [ -f "$given/$name" ] || refuse "$name is not in the folder"
done </tmp/wanted
(cd "$given" && sha256sum --quiet -c /tmp/wanted) || refuse "a file is not the one that $(basename "$sums") names"

install -d "$kept"
tar -xzf "$given"/firecracker-*-"$machine".tgz -C /tmp --no-same-owner
install -m 0755 /tmp/release-*/firecracker-v*-"$machine" /usr/local/bin/firecracker
install -m 0755 /tmp/release-*/jailer-v*-"$machine" /usr/local/bin/jailer
install -m 0644 "$given"/vmlinux-*-"$machine" "$kept/vmlinux"
{ echo "$1"; cat /tmp/wanted; } >"$kept/artefacts"
