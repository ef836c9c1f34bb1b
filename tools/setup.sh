#!/bin/sh
# Installs what building, testing and running midashi need:   sh tools/setup.sh [--check] [--cuda] [--demo]
#
#   --check   only report: exit code 0 if everything is there, 1 if something is missing
#   --cuda    also nvcc, with which the kernels for NVIDIA's cards are compiled: where there is none,
#             from NVIDIA's Python packages into build/cuda-toolkit (270 MB)
#   --demo    also what the model of tools/demo.sh is fetched with: python3 and its pip
#   --help    this text
#
# Where everything is there, nothing is installed. Debian and Ubuntu: apt-get, as root or by sudo;
# with neither, the libraries are unpacked into build/sysroot and build/setup.mk tells the Makefile.
# Fedora and RHEL: dnf, as root or by sudo. Elsewhere, and where none of this works, it says what an
# administrator has to install.
#
# Honours CC, CFLAGS and LDFLAGS as make does, and the proxy variables http_proxy, https_proxy,
# all_proxy and no_proxy, in capitals too.
set -eu
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/sysroot.sh
. tools/cuda_toolkit.sh

only_check=
cuda=
demo=
for argument; do
    case $argument in
    --check) only_check=1 ;;
    --cuda) cuda=1 ;;
    --demo) demo=1 ;;
    -h | --help)
        usage_of tools/setup.sh
        exit 0
        ;;
    *) wrong_usage "tools/setup.sh: $argument: no such option" ;;
    esac
done

# apt and pip read the names in lower case only.
http_proxy=${http_proxy:-${HTTP_PROXY:-}}
https_proxy=${https_proxy:-${HTTPS_PROXY:-}}
all_proxy=${all_proxy:-${ALL_PROXY:-}}
no_proxy=${no_proxy:-${NO_PROXY:-}}
DEBIAN_FRONTEND=noninteractive
LC_ALL=C
through_sudo=http_proxy,https_proxy,all_proxy,no_proxy,DEBIAN_FRONTEND,LC_ALL
export http_proxy https_proxy all_proxy no_proxy DEBIAN_FRONTEND LC_ALL
[ -n "$http_proxy" ] || unset http_proxy
[ -n "$https_proxy" ] || unset https_proxy
[ -n "$all_proxy" ] || unset all_proxy
[ -n "$no_proxy" ] || unset no_proxy

work=$(mktemp -d)
trap 'rm -rf "$work" "$sysroot.$$"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- What is needed -------------------------------------------------------------------------

# Everything below goes by these names.
describe() {
    case $1 in
    compiler) echo 'a C compiler that builds a program (without one, the libraries cannot be seen)' ;;
    jansson) echo 'jansson, library and headers' ;;
    pcre2) echo 'PCRE2 for 8-bit text, library and headers' ;;
    icu) echo 'ICU uc, library and headers' ;;
    zlib) echo 'zlib, library and headers' ;;
    mecab) echo 'MeCab, library and headers' ;;
    dictionary) echo 'a MeCab dictionary in UTF-8 (IPA)' ;;
    check) echo 'Check, for the tests' ;;
    curl) echo 'curl, with which tools/fetch-model.sh gets models by their Hugging Face id' ;;
    certificates) echo 'the certificates that curl needs' ;;
    pip) echo 'python3 with pip, for nvcc and the model of the demo' ;;
    nvcc) echo 'nvcc, with which the kernels for GPUs are compiled' ;;
    *) echo "$1" ;;
    esac
}

package() { # SYSTEM NEED
    case $1:$2 in
    apt:compiler) echo gcc libc6-dev ;;
    apt:jansson) echo libjansson-dev ;;
    apt:pcre2) echo libpcre2-dev ;;
    apt:icu) echo libicu-dev ;;
    apt:zlib) echo zlib1g-dev ;;
    apt:mecab) echo libmecab-dev ;;
    apt:dictionary) echo mecab-ipadic-utf8 mecab-ipadic mecab-utils ;;
    dnf:compiler) echo gcc glibc-devel ;;
    dnf:pkg-config) echo pkgconf-pkg-config ;;
    dnf:jansson) echo jansson-devel ;;
    dnf:pcre2) echo pcre2-devel ;;
    dnf:icu) echo libicu-devel ;;
    dnf:zlib) echo zlib-devel ;;
    dnf:mecab) echo mecab-devel ;;
    dnf:dictionary) echo mecab-ipadic ;;
    dnf:check) echo check-devel ;;
    *:certificates) echo ca-certificates ;;
    *:pip) echo python3 python3-pip ;;
    *) echo "$2" ;; # make, pkg-config, check, curl
    esac
}

packages() { # SYSTEM NEED...
    package_system=$1
    shift
    for need; do
        package "$package_system" "$need"
    done | tr '\n' ' '
}

# ---- What is there --------------------------------------------------------------------------

# builds PACKAGE HEADER SYMBOL [LIBRARY]: whether a program with that header and symbol compiles,
# links and starts. PACKAGE is its name for pkg-config, or empty.
builds() {
    probe_flags=
    probe_libraries=${4:-}
    if [ -n "$1" ]; then
        probe_flags=$($pkg_config --cflags "$1" 2>/dev/null) || return 1
        probe_libraries=$($pkg_config --libs "$1" 2>/dev/null) || return 1
    fi
    cat >"$work/probe.c" <<END
#define PCRE2_CODE_UNIT_WIDTH 8
#include <$2>
int main(void) {
    void *volatile symbol = (void *)$3;
    return symbol == 0;
}
END
    # The variables are lists of words, as in make.
    # shellcheck disable=SC2086
    ${CC:-cc} -w "@$work/flags" ${CFLAGS:-} $probe_flags "$work/probe.c" ${LDFLAGS:-} \
        $probe_libraries -o "$work/probe" >>"$work/probe.log" 2>&1 &&
        "$work/probe" >>"$work/probe.log" 2>&1
}

# A compiled dictionary names its character set in the 32 bytes after a header of ten words.
is_utf8_dictionary() {
    [ -s "$1/sys.dic" ] || return 1
    case $(dd if="$1/sys.dic" bs=1 skip=40 count=32 2>/dev/null | tr -d '\000') in
    [Uu][Tt][Ff]-8 | [Uu][Tt][Ff]8) return 0 ;;
    esac
    return 1
}

has_dictionary() {
    # The places of loaders/japanese.c.
    for dictionary in "${MIDASHI_MECAB_DICTIONARY:-}" "$sysroot_dictionary" \
        /var/lib/mecab/dic/ipadic-utf8 /usr/share/mecab/dic/ipadic-utf8 \
        /usr/lib/mecab/dic/ipadic-utf8 /usr/lib64/mecab/dic/ipadic-utf8 \
        /usr/lib64/mecab/dic/ipadic /usr/lib/mecab/dic/ipadic /usr/share/mecab/dic/ipadic \
        /var/lib/mecab/dic/ipadic /usr/local/lib/mecab/dic/ipadic-utf8 \
        /usr/local/lib/mecab/dic/ipadic; do
        if is_utf8_dictionary "$dictionary"; then
            return 0
        fi
    done
    return 1
}

# missing: the names of what is missing, a line each. With `missing system` what build/sysroot
# holds does not count.
missing() {
    pkg_config=${PKG_CONFIG:-pkg-config}
    sysroot_dictionary=
    unpacked_make=
    : >"$work/flags"
    if [ "${1:-}" != system ] && [ -f build/setup.mk ]; then
        pkg_config=$sysroot/bin/pkg-config
        sysroot_dictionary=$sysroot/$dictionary_folder
        unpacked_make=$sysroot/usr/bin/make
        sysroot_flags "$PWD" >"$work/flags"
    fi
    builds '' stdio.h puts || echo compiler
    have make || [ -x "$unpacked_make" ] || echo make
    $pkg_config --version >/dev/null 2>&1 || echo pkg-config
    builds jansson jansson.h json_loads || echo jansson
    builds libpcre2-8 pcre2.h pcre2_compile || echo pcre2
    builds icu-uc unicode/ubrk.h ubrk_open || echo icu
    builds zlib zlib.h inflate || echo zlib
    builds '' mecab.h mecab_new2 -lmecab || echo mecab
    has_dictionary || echo dictionary
    builds check check.h suite_create || echo check
    have curl || echo curl
    # apt's curl does without them unless they are asked for.
    if have apt-get && [ ! -s "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" ]; then
        echo certificates
    fi
    wants_nvcc=
    if [ -n "$cuda" ] && ! has_nvcc; then
        wants_nvcc=1
        [ -z "$only_check" ] || echo nvcc # else it is got last, and not by the system
    fi
    if [ -n "$demo$wants_nvcc" ] && ! python3 -c 'import pip' >/dev/null 2>&1; then
        echo pip
    fi
}

# ---- How it gets there ----------------------------------------------------------------------

# quietly COMMAND...: its output is shown only where it fails.
quietly() {
    if ! "$@" >"$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        return 1
    fi
}

# persistently COMMAND...: up to three times, because a mirror fails now and then.
persistently() {
    for pause in 3 10; do
        if quietly "$@"; then
            return 0
        fi
        say "Trying again in $pause seconds." >&2
        sleep "$pause"
    done
    quietly "$@"
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] || { have sudo && { sudo -n true 2>/dev/null || ask_for_sudo; }; }
}

# Someone who sits there can type the password; a script cannot.
ask_for_sudo() { [ -t 0 ] && [ -t 2 ] && sudo -v; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "--preserve-env=$through_sudo" "$@"
    fi
}

# One list that cannot be had (a stranger's repository) need not matter: the installation tells.
apt_install() {
    as_root apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 update || true
    as_root apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        --no-install-recommends install "$@"
}

dnf_install() { as_root dnf -q -y --setopt=install_weak_deps=False install "$@"; }

# administrator SYSTEM NEED...: the command for someone who may run it.
administrator() {
    command_system=$1
    command_packages=$(packages "$@")
    case $command_system in
    apt)
        say "apt-get update && apt-get install -y --no-install-recommends $command_packages"
        ;;
    dnf)
        say "dnf install -y $command_packages (RHEL and its kin: enable CRB and EPEL before)"
        ;;
    esac | sed -e 's/  */ /g' -e 's/ $//'
}

# ---- The work -------------------------------------------------------------------------------

list_of() { # NEED...
    for need; do
        say "  $(describe "$need")"
    done
}

# finish LINE: the end, where all else is there.
finish() {
    if [ -n "$cuda" ] && ! has_nvcc; then
        unpack_cuda_toolkit || die 'nvcc could not be got; without it midashi is built for the CPU only.'
    fi
    say "$1"
    exit 0
}

needs=$(missing)
if [ -z "$needs" ]; then
    finish 'Everything is there.'
fi
system=
if have apt-get; then
    system=apt
elif have dnf; then
    system=dnf
fi
# Names of needs and packages have no spaces: from here on, lists of them are split on purpose.
# shellcheck disable=SC2086
if [ -n "$only_check" ]; then
    say 'Missing:'
    list_of $needs
    say "Install it with: sh tools/setup.sh${cuda:+ --cuda}${demo:+ --demo}"
    exit 1
fi
if [ -z "$system" ]; then
    # shellcheck disable=SC2086
    die 'This system has neither apt-get nor dnf. Install with its own package manager:' \
        "$(list_of $needs)" 'and run this again.'
fi
if can_be_root; then
    # shellcheck disable=SC2086
    wanted=$(packages "$system" $needs)
    say "Installing ${wanted% }. This can take a few minutes."
    # shellcheck disable=SC2086
    persistently "${system}_install" $wanted || true
elif [ "$system" = apt ]; then
    # shellcheck disable=SC2046
    unpack_sysroot $(missing system) || true
fi
needs=$(missing)

# Without curl all but the fetching of models by their id works.
vital=$(printf '%s\n' "$needs" | grep -v -x -e curl -e certificates || true)
if [ -n "$needs" ]; then
    # shellcheck disable=SC2086
    say 'Still missing:' "$(list_of $needs)" 'As root, this installs it:' \
        "  $(administrator "$system" $needs)" >&2
fi
[ -z "$vital" ] || exit 1
finish 'Everything that is needed is there.'
