#!/bin/sh
# Writes this machine's own package descriptions as a corpus:
#   sh tools/package-corpus.sh [--rows N|all] >FILE.tsv
#
#   --rows N   so many, spread evenly over the alphabet (default 2000); all: every one
#   --help     this text
#
# A row a package in the order of their names: its section (without a component such as universe/)
# as label, its short description as text. Debian and Ubuntu only.
set -eu
cd "$(dirname "$0")/.."
. tools/common.sh

rows=2000
while [ $# -gt 0 ]; do
    case $1 in
    --rows)
        rows=${2:-}
        case $rows in
        all) ;;
        '' | 0* | *[!0-9]*) wrong_usage 'tools/package-corpus.sh: --rows wants a number from 1, or all' ;;
        esac
        shift
        ;;
    -h | --help)
        usage_of tools/package-corpus.sh
        exit 0
        ;;
    *) wrong_usage "tools/package-corpus.sh: $1: no such option" ;;
    esac
    shift
done
LC_ALL=C
export LC_ALL
have apt-cache || die 'This machine has no apt-cache: it cannot tell of its packages. Use another corpus.'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Of several versions of a package, the first.
apt-cache dumpavail | tr '\t' ' ' | tr -d '\000-\010\013-\037\177' | awk '
    function value(line) { sub(/^[^:]*: */, "", line); sub(/ +$/, "", line); return line }
    function flush() {
        if (name != "" && section != "" && text != "" && !(name in seen)) {
            seen[name] = 1
            print name "\t" section "\t" text
        }
        name = section = text = ""
    }
    /^Package:/ { name = value($0) }
    /^Section:/ { section = value($0); sub(/^.*\//, "", section) }
    /^Description(-en)?:/ { text = value($0) }
    /^ *$/ { flush() }
    END { flush() }' | sort >"$work/all"

found=$(wc -l <"$work/all")
[ "$found" -ge 1000 ] || die "apt-cache knows only $((found)) packages with a section and a description; a corpus takes 1000. Run apt-get update, or use another corpus."
printf 'label\ttext\n'
awk -F '\t' -v OFS='\t' -v found="$found" -v rows="$rows" '
    rows == "all" || int(NR * rows / found) > int((NR - 1) * rows / found) { print $2, $3 }
' "$work/all"
