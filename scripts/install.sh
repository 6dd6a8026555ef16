#!/usr/bin/env bash
# Installs programs from Debian packages if they are missing.
#
#   scripts/install.sh [PROGRAM...]     default: what the tests need
#
# Uses apt-get, with sudo only when not root. Does nothing, and needs no
# network, when everything is there. Leaves no service running.
set -euo pipefail

programs=(redis-server chromium chromedriver)
if (($#)); then programs=("$@"); fi

# The packages that bring a program.
packages_of() {
    case $1 in
        cc) echo gcc libc6-dev ;;
        certificates) echo ca-certificates ;;
        chromedriver) echo chromium-driver ;;
        *) echo "$1" ;;
    esac
}

have() {
    case $1 in
        # A compiler without the C library's headers links nothing.
        cc) command -v cc >/dev/null && [[ -e /usr/include/stdlib.h ]] ;;
        certificates) [[ -s ${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} ]] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Sets `missing` to the programs that are not there.
find_missing() {
    local program
    missing=()
    for program in "${programs[@]}"; do
        have "$program" || missing+=("$program")
    done
}

fail() {
    echo "install: $*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# RUNLEVEL=1 keeps a package from starting its service where invoke-rc.d asks for the run level.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# The option above does not cover the lock on the package lists, so an update is tried a few
# times. One that fails still leaves the lists from before, which may do.
update_lists() {
    local try
    for try in 1 2 3 4 5; do
        if apt update; then return; fi
        echo "install: apt-get update failed (try $try of 5)" >&2
        sleep 10
    done
}

# Debian starts a Redis server when it installs one. The tests start their own, on ports of their
# own, so the one that came with the package is stopped, now and for the next boot.
stop_redis_service() {
    if [[ -d /run/systemd/system ]]; then
        as_root systemctl disable --now redis-server.service
    elif [[ -x /etc/init.d/redis-server ]]; then
        as_root /etc/init.d/redis-server stop || true
    fi
}

find_missing
if ((${#missing[@]} == 0)); then exit 0; fi

packages=()
for program in "${missing[@]}"; do
    # One program may come in several packages.
    read -r -a names <<<"$(packages_of "$program")"
    packages+=("${names[@]}")
done

command -v apt-get >/dev/null ||
    fail "missing: ${missing[*]}. There is no apt-get here; install them by hand (Debian: ${packages[*]})."
((EUID == 0)) || command -v sudo >/dev/null ||
    fail "missing: ${missing[*]}. Run as root: apt-get install ${packages[*]}"

echo "install: ${packages[*]}"
update_lists
apt install -y --no-install-recommends "${packages[@]}" ||
    fail "apt-get could not install: ${packages[*]}"
if [[ " ${missing[*]} " == *" redis-server "* ]]; then stop_redis_service; fi

find_missing
((${#missing[@]} == 0)) || fail "still missing after installing ${packages[*]}: ${missing[*]}"
