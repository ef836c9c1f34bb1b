# What the scripts of tools/ share. Each goes to the project's root and then reads this file.
# shellcheck shell=sh

# Where setup.sh unpacks libraries for a user who may not install packages.
# shellcheck disable=SC2034
sysroot=build/sysroot

# say LINE...
say() { printf '%s\n' "$@"; }

# die LINE...: on standard error, and exit code 1.
die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# wrong_usage LINE: exit code 2, as midashi has it.
wrong_usage() {
    printf '%s\n' "$1 (--help lists the options)" >&2
    exit 2
}

# usage_of SCRIPT: the comment at the top of a script is its help.
usage_of() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$1"
}

have() { command -v "$1" >/dev/null 2>&1; }

processors() { getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; }

# run_make ARGUMENT...: the system's make, or the unpacked one.
run_make() {
    if have make; then
        make "$@"
    else
        "$sysroot/usr/bin/make" "$@"
    fi
}

# size_of FILE: its bytes; 0 where there is no such file.
size_of() {
    if [ -f "$1" ]; then
        wc -c <"$1" | tr -d ' '
    else
        echo 0
    fi
}

# sha256_of FILE: in hexadecimal; fails where the machine has no tool for it.
sha256_of() {
    if have sha256sum; then
        sha256sum <"$1" | cut -d ' ' -f 1
    elif have shasum; then
        shasum -a 256 <"$1" | cut -d ' ' -f 1
    elif have openssl; then
        openssl dgst -sha256 -r <"$1" | cut -d ' ' -f 1
    else
        return 1
    fi
}
