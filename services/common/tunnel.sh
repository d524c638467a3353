#!/bin/sh
# Brings up this side of the tunnel between gateway and runtime node, then becomes COMMAND:
#   esb-tunnel listen|call COMMAND [ARGUMENT…]
#     listen  the other side will call; where it is known already, it is called too
#     call    the other side must be known
#
# The kernel's WireGuard makes the tunnel; where the kernel has none, wireguard-go does in user space, and
# when that ends COMMAND is ended. A line says which of the two it was. Where neither can, a line says
# why and COMMAND never starts.
#
# /etc/esb/tunnel holds private.key, tunnel.conf (what `wg setconf` reads, without the private key),
# address (ADDRESS/BITS of this side) and peer (HOST:PORT of the other).
set -eu

link=esb0
folder=/etc/esb/tunnel
settled=/run/wireguard/$link.settled

stop() {
    echo "esb-tunnel: $2" >&2
    echo "  $3" >&2
    exit "$1"
}

check_files() {
    for name in private.key tunnel.conf address peer; do
        [ -e "$folder/$name" ] || stop 5 "there is no $folder/$name" \
            "'ESB_MODE=firecracker ./esb up' makes it; mount this side's folder at $folder, read-only"
        [ -r "$folder/$name" ] || stop 5 "user $(id -u) cannot read $folder/$name" \
            "run the container as root, with the capability DAC_READ_SEARCH where another user owns the file"
    done
    mode=$(stat -L -c %a "$folder/private.key")
    case $mode in
    ?00) ;;
    *) stop 5 "$folder/private.key is open to others (mode $mode)" "chmod 600 it on the host" ;;
    esac
}

made_by_kernel() {
    ip link delete "$link" 2>/dev/null || : # of an earlier start in this network namespace
    told=$(ip link add "$link" type wireguard 2>&1) && return
    case $told in
    *"not permitted"*)
        stop 3 "this container may not make a network interface" "give it the capability NET_ADMIN (cap_add: [NET_ADMIN])"
        ;;
    esac
    return 1
}

make_in_user_space() {
    [ -c /dev/net/tun ] || stop 3 "this kernel has no WireGuard, and wireguard-go needs /dev/net/tun, which is not here" \
        "give the container the device (devices: [/dev/net/tun]), or load the kernel's module on the host"
    rm -f "$settled"
    (
        WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error wireguard-go --foreground "$link" >&2 || :
        [ -e "$settled" ] || exit 1
        echo "esb-tunnel: wireguard-go has ended, and so must what needs the tunnel" >&2
        # Again and again: process 1 does not feel a signal before it has a handler for it.
        while kill -TERM $$ 2>/dev/null; do sleep 1; done
    ) &
    program=$!
    tries=100
    until wg show "$link" >/dev/null 2>&1; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ] || ! kill -0 "$program" 2>/dev/null; then
            stop 3 "wireguard-go did not make $link" "its own words stand above; it needs /dev/net/tun and NET_ADMIN"
        fi
        sleep 0.05
    done
    : >"$settled"
}

configure() {
    wg setconf "$link" "$folder/tunnel.conf" || stop 5 "$folder/tunnel.conf is refused" "wg's own words stand above"
    # wg repeats a key that it cannot read, so it may not speak here.
    wg set "$link" private-key "$folder/private.key" 2>/dev/null ||
        stop 5 "$folder/private.key is not a WireGuard key" "remove the folder on the host and run ./esb up: it makes a new one"
    ip address add "$(cat "$folder/address")" dev "$link" ||
        stop 5 "$folder/address is refused" "ADDRESS/BITS is expected; ip's own words stand above"
}

# Who knows the other side calls it at once and keeps calling, so that either one may start anew under
# another address: its first call tells the other where it is now.
find_peer() {
    key=$(wg show "$link" peers)
    peer=$(cat "$folder/peer")
    WG_ENDPOINT_RESOLUTION_RETRIES=1 wg set "$link" peer "$key" endpoint "$peer" 2>/dev/null &&
        wg set "$link" peer "$key" persistent-keepalive 15 && return
    [ "$1" = listen ] || stop 3 "the other side of the tunnel is not known: $peer" \
        "start it first, on a network that both containers are on"
    peer="not known yet ($peer), so it has to call"
}

role=$1
shift
check_files
if made_by_kernel; then
    maker="the kernel's WireGuard"
else
    make_in_user_space
    maker="wireguard-go, since this kernel has no WireGuard"
fi
configure
find_peer "$role"
ip link set "$link" mtu 1420 up
echo "esb-tunnel: $link is up with $(cat "$folder/address"), made by $maker; the other side is $peer" >&2
exec "$@"
