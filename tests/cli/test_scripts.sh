#!/bin/sh
# The shell scripts themselves: shellcheck, setting up, and the corpus of package descriptions.
# shellcheck disable=SC2317 # run_tests calls the functions by their names
. tests/cli/tap.sh

# A folder of commands that stand in for the machine's own: stub NAME LINES-OF-SHELL.
stub() {
    mkdir -p "$dir/bin"
    printf '#!/bin/sh\n%s\n' "$2" >"$dir/bin/$1"
    chmod +x "$dir/bin/$1"
}

# A machine that has nothing: a PATH with no more than the scripts themselves stand on, and a copy
# of them where nothing was built or unpacked.
bare_machine() {
    mkdir -p "$dir/bin" "$dir/project"
    cp -R tools "$dir/project/tools"
    for tool in awk basename cat chmod cp cut dd dirname env getconf grep head id ln mkdir mktemp \
        mv readlink rm sed sh sleep sort tail timeout tr wc; do
        ln -s "$(command -v "$tool")" "$dir/bin/$tool"
    done
}

test_shellcheck_finds_nothing() {
    need_command shellcheck
    # shellcheck disable=SC2046
    run shellcheck -x -S warning tests/run.sh $(find tools tests -name '*.sh' | sort)
    expect_code 0
}

test_help_says_how_to_call() {
    for script in setup check fetch-model demo package-corpus; do
        run sh "tools/$script.sh" --help
        expect_code 0
        expect_match "$stdout" "sh tools/$script.sh"
        expect_lines "$stderr"
        run sh "tools/$script.sh" --nonsense
        expect_error 2 '--nonsense: no such option'
    done
}

test_setup_reports_what_is_missing() {
    bare_machine
    PATH=$dir/bin run sh "$dir/project/tools/setup.sh" --check --demo
    expect_code 1
    expect_match "$stdout" 'a C compiler'
    expect_match "$stdout" 'jansson'
    expect_match "$stdout" 'python3 with pip'
    expect_match "$stdout" 'sh tools/setup.sh --demo'
}

test_setup_gets_nvcc_only_when_asked() {
    bare_machine
    PATH=$dir/bin run sh "$dir/project/tools/setup.sh" --check
    expect_no_match "$stdout" 'nvcc'
    PATH=$dir/bin run sh "$dir/project/tools/setup.sh" --check --cuda
    expect_code 1
    expect_match "$stdout" 'nvcc, with which'
    expect_match "$stdout" 'python3 with pip'
    expect_match "$stdout" 'sh tools/setup.sh --cuda'
}

test_setup_names_the_libraries_on_other_systems() {
    bare_machine
    PATH=$dir/bin run sh "$dir/project/tools/setup.sh"
    expect_code 1
    expect_match "$stderr" 'neither apt-get nor dnf'
    expect_match "$stderr" 'PCRE2'
}

test_setup_uses_the_package_names_of_fedora() {
    bare_machine
    rm "$dir/bin/id"
    stub id 'echo 0'
    stub dnf "printf '%s\n' \"\$*\" >>'$dir/asked'"
    rm "$dir/bin/sleep"
    stub sleep :
    PATH=$dir/bin run sh "$dir/project/tools/setup.sh"
    expect_code 1 # that dnf installs nothing
    expect_match "$dir/asked" 'install gcc glibc-devel make pkgconf-pkg-config jansson-devel'
    expect_match "$stderr" 'dnf install -y gcc'
}

test_setup_without_root_or_compiler_says_the_command() {
    bare_machine
    rm "$dir/bin/id"
    stub id 'echo 1000'
    stub apt-get "echo apt-get >>'$dir/asked'"
    PATH=$dir/bin run sh "$dir/project/tools/setup.sh"
    expect_code 1
    expect_match "$stderr" 'apt-get update && apt-get install -y --no-install-recommends gcc'
    expect_absent "$dir/asked"
}

# packages N: what apt-cache would say about N packages, the last ones first.
packages() {
    awk -v n="$1" 'BEGIN {
        for (i = n; i >= 1; i--) {
            printf "Package: p%05d\nVersion: 1\n", i
            if (i % 2) printf "Section: universe/games\n"; else printf "Section: net\n"
            printf "Description-en: Package\tnumber %d\n", i
            printf " A longer text.\n\n"
        }
        printf "Package: p00001\nSection: net\nDescription: an older version\n\n"
        printf "Package: nothing-said\nSection: net\n\n"
        printf "Package: no-section\nDescription: x\n\n"
    }'
}

test_package_corpus_is_clean_and_in_order() {
    packages 1500 >"$dir/available"
    stub apt-cache "cat '$dir/available'"
    PATH=$dir/bin:$PATH run sh tools/package-corpus.sh --rows all
    expect_code 0
    expect_line_count "$stdout" 1501
    head -n 3 "$stdout" >"$dir/head"
    expect_lines "$dir/head" "label	text" "games	Package number 1" "net	Package number 2"
}

test_package_corpus_is_an_even_sample() {
    packages 3000 >"$dir/available"
    stub apt-cache "cat '$dir/available'"
    PATH=$dir/bin:$PATH run sh tools/package-corpus.sh --rows 1000
    expect_code 0
    expect_line_count "$stdout" 1001
    sed -n 2,4p "$stdout" | tr -cd '0-9\n' >"$dir/numbers"
    expect_lines "$dir/numbers" 3 6 9
}

test_package_corpus_needs_a_thousand() {
    packages 999 >"$dir/available"
    stub apt-cache "cat '$dir/available'"
    PATH=$dir/bin:$PATH run sh tools/package-corpus.sh
    expect_error 1 'only 999 packages.*apt-get update'
    bare_machine
    rm "$dir/bin/apt-cache"
    PATH=$dir/bin run sh "$dir/project/tools/package-corpus.sh"
    expect_error 1 'no apt-cache'
}

run_tests "$@"
