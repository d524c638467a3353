#!/bin/sh
# Installs the named Debian packages in a build step and leaves no trace of the installing.
#
# Where the stage `debs` was replaced by a folder of .deb files, exactly those are installed and no
# network is used; else apt fetches, from the sources of the secret esb_apt_sources (one-line
# format) or the image's own, with the settings of the secret esb_apt_conf (a proxy, say). Debian's
# signatures are verified whenever something is fetched.
set -eu

fetching() {
    if [ -s /run/secrets/esb_apt_sources ]; then
        set -- "$@" -o Dir::Etc::sourcelist=/run/secrets/esb_apt_sources -o Dir::Etc::sourceparts=/dev/null
    elif ! grep -rqsE '^(deb|Types:)' /etc/apt/sources.list /etc/apt/sources.list.d; then
        echo "no Debian mirror is known: pass --secret id=esb_apt_sources,src=FILE (lines of 'deb URI SUITE main')" >&2
        exit 1
    fi
    if [ -s /run/secrets/esb_build_ca ]; then
        set -- "$@" -o Acquire::https::CAInfo=/run/secrets/esb_build_ca
    fi
    apt-get -qq -o APT::Update::Error-Mode=any "$@"
}

export DEBIAN_FRONTEND=noninteractive
if [ -n "$(ls -A /run/debs)" ]; then
    apt-get -qq -y --no-install-recommends install /run/debs/*.deb
else
    if [ -s /run/secrets/esb_apt_conf ]; then
        export APT_CONFIG=/run/secrets/esb_apt_conf
    fi
    fetching update
    fetching -y --no-install-recommends install "$@"
fi

rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/debconf/*-old \
    /var/lib/dpkg/*-old /var/cache/ldconfig/aux-cache /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
