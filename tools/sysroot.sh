# Libraries for a user who may not install packages (Debian, Ubuntu): apt-get fetches what is
# missing with everything it depends on, dpkg-deb unpacks it into build/sysroot, and build/setup.mk
# tells the Makefile. Part of tools/setup.sh, whose functions and variables it uses.
# shellcheck shell=sh
# shellcheck disable=SC2154 # sysroot and work are set by the scripts that read this one

dictionary_folder=var/lib/mecab/dic/ipadic-utf8

# The folder under /usr/lib that is this machine's own, such as x86_64-linux-gnu.
library_triplet() {
    for libc in /usr/lib/*-linux-gnu*/libc.so.6 /lib/*-linux-gnu*/libc.so.6; do
        if [ -e "$libc" ]; then
            basename "$(dirname "$libc")"
            return 0
        fi
    done
    return 1
}

# sysroot_flags ROOT: for compiling and for linking, a line each. ICU's libraries need one another:
# only the old kind of rpath (disable-new-dtags) is searched for those too.
sysroot_flags() {
    triplet=$(library_triplet)
    say "-isystem '$1/$sysroot/usr/include' -isystem '$1/$sysroot/usr/include/$triplet'"
    rpath=-Wl,--disable-new-dtags,-rpath
    say "-L'$1/$sysroot/usr/lib/$triplet' $rpath,'$1/$sysroot/usr/lib/$triplet'"
}

write_setup_mk() {
    # make's own name of the root, so that the project can be moved.
    # shellcheck disable=SC2016
    sysroot_flags '$(CURDIR)' >"$work/flags.mk"
    {
        say "# Written by tools/setup.sh: the libraries lie in $sysroot. To go back to the system's,"
        say "# delete this file and that folder."
        say "PKG_CONFIG    := $sysroot/bin/pkg-config"
        say "SETUP_CFLAGS  := $(sed -n 1p "$work/flags.mk") \\"
        # shellcheck disable=SC2016
        say '    -DMIDASHI_SYSROOT_MECAB_DICTIONARY='\''"$(CURDIR)/'"$sysroot/$dictionary_folder"'"'\'
        say "SETUP_LDFLAGS := $(sed -n 2p "$work/flags.mk")"
    } >"build/setup.mk.$$"
    mv "build/setup.mk.$$" build/setup.mk
}

# apt-get with lists and archives of its own, since the system's belong to root.
own_apt() { apt-get -c "$work/apt.conf" -q -o Acquire::Retries=3 "$@"; }

prepare_own_apt() { # FOLDER
    mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial" "$1/packages"
    cat >"$work/apt.conf" <<END
Dir::State "$1/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$1/cache";
Debug::NoLocking "true";
APT::Install-Recommends "false";
END
}

# names_and_versions PACKAGE...: these and all they depend on that the system lacks. A C library is
# never among them: it must be the one of the system's own loader.
names_and_versions() {
    own_apt -s -y install "$@" >"$work/simulation" 2>&1 || return 1
    awk '$1 == "Inst" && $2 !~ /^(libc6|libc6-dev|libc-bin|libc-dev-bin|linux-libc-dev)(:|$)/ {
             for (i = 3; i <= NF; i++)
                 if (sub(/^\(/, "", $i)) { print $2 "=" $i; break }
         }' "$work/simulation"
}

# The one under the new folder, or else the system's own.
unpacked_or_installed() { # FOLDER PATH
    if [ -e "$1/$2" ]; then
        say "$1/$2"
    else
        say "/$2"
    fi
}

# Headers come with links such as libz.so, to a library that lies elsewhere in the sysroot, or that
# the system has and that therefore was not fetched.
mend_links() { # FOLDER TRIPLET
    find "$1/usr/lib" -type l | while IFS= read -r link; do
        name=$(basename "$(readlink "$link")")
        if [ -e "$link" ]; then
            continue
        elif [ -e "$(dirname "$link")/$name" ]; then
            ln -sf "$name" "$link"
        elif [ -e "/usr/lib/$2/$name" ]; then
            ln -sf "/usr/lib/$2/$name" "$link"
        elif [ -e "/lib/$2/$name" ]; then
            ln -sf "/lib/$2/$name" "$link"
        fi
    done
}

# Installing the package would compile the dictionary; unpacking does not.
compile_dictionary() { # FOLDER TRIPLET
    source=$(unpacked_or_installed "$1" usr/share/mecab/dic/ipadic)
    index=$(unpacked_or_installed "$1" usr/lib/mecab/mecab-dict-index)
    mkdir -p "$1/$dictionary_folder"
    LD_LIBRARY_PATH=$1/usr/lib/$2 quietly "$index" -d "$source" -o "$1/$dictionary_folder" \
        -f EUC-JP -t UTF-8 || return 1
    sed 's/EUC-JP/UTF-8/g' "$source/dicrc" >"$1/$dictionary_folder/dicrc"
}

write_pkg_config() { # FOLDER TRIPLET
    mkdir -p "$1/bin"
    cat >"$1/bin/pkg-config" <<END
#!/bin/sh
# Written by tools/setup.sh: pkg-config over the packages of this folder and of the system.
here=\$(cd "\$(dirname "\$0")/.." && pwd)
PKG_CONFIG_PATH=\$here/usr/lib/$2/pkgconfig:\$here/usr/share/pkgconfig\${PKG_CONFIG_PATH:+:\$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
if [ -x "\$here/usr/bin/pkg-config" ]; then
    LD_LIBRARY_PATH=\$here/usr/lib/$2 exec "\$here/usr/bin/pkg-config" "\$@"
fi
exec pkg-config "\$@"
END
    chmod +x "$1/bin/pkg-config"
}

# unpack_sysroot NEED...: all that the system lacks. The old folder is replaced when the new one is
# whole.
unpack_sysroot() {
    unpackable=
    for need; do
        case $need in
        compiler)
            say 'A compiler has to be installed by an administrator.' >&2
            return 1
            ;;
        curl | certificates | pip) ;;
        *) unpackable="$unpackable $need" ;;
        esac
    done
    case $PWD in
    *[\'\"\\\$,\#]*)
        say "$PWD: a folder with such a name cannot hold libraries; move the project." >&2
        return 1
        ;;
    esac
    # What is missing now may be of the kind that cannot be unpacked.
    if ! missing | grep -q -v -x -e curl -e certificates -e pip; then
        return 0
    fi
    say "Neither root nor sudo: unpacking libraries into $sysroot. This can take a few minutes."
    triplet=$(library_triplet) || return 1
    new=$PWD/$sysroot.$$
    prepare_own_apt "$new/apt"
    quietly own_apt update || say 'Some package lists could not be refreshed.' >&2
    # shellcheck disable=SC2046,SC2086
    if ! names=$(names_and_versions $(packages apt $unpackable)); then
        tail -n 20 "$work/simulation" >&2
        return 1
    fi
    if [ -n "$names" ]; then
        # shellcheck disable=SC2086
        (cd "$new/apt/packages" && persistently own_apt download $names) || return 1
        for archive in "$new/apt/packages"/*.deb; do
            quietly dpkg-deb -x "$archive" "$new" || return 1
        done
    fi
    # Some packages still say /lib for /usr/lib.
    mkdir -p "$new/usr/lib"
    if [ -d "$new/lib" ]; then
        cp -a "$new/lib/." "$new/usr/lib/"
    fi
    case " $unpackable " in
    *' dictionary '*) compile_dictionary "$new" "$triplet" || return 1 ;;
    esac
    rm -rf "$new/apt" "$new/usr/share/doc" "$new/usr/share/man" "$new/usr/share/mecab"
    write_pkg_config "$new" "$triplet"
    rm -rf build/setup.mk "$sysroot"
    mv "$new" "$sysroot"
    mend_links "$PWD/$sysroot" "$triplet"
    write_setup_mk
}
