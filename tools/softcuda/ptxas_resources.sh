#!/bin/sh
# Registers, spills, stack and shared memory of kernels, as ptxas reports them:
#   sh tools/softcuda/ptxas_resources.sh FILE.ptx... ARCHITECTURE... >FILE.resources.json
# compiles each file for each architecture (sm_86 ...); those that this ptxas does not know are left
# out. With - in the place of files, standard input is the output of `nvcc -Xptxas -v` or `ptxas
# -v`. PTXAS is the program, ptxas by default. The form of the output is said in
# tools/softcuda/resources.h.
set -eu
if [ "${1:-}" = - ]; then
    cat
else
    for file; do
        case $file in sm_*) continue ;; esac
        for architecture; do
            case $architecture in sm_*) ;; *) continue ;; esac
            said=$("${PTXAS:-ptxas}" -v -arch="$architecture" "$file" -o /dev/null 2>&1) || {
                case $said in
                *"not defined for option 'gpu-name'"*) continue ;;
                esac
                printf '%s\n' "$said" >&2
                exit 1
            }
            printf '%s\n' "$said"
        done
    done
fi | awk '
# ptxas info    : Compiling entry function "NAME" for "sm_80"     (in single quotes)
# ptxas info    : Function properties for NAME
#     8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
# ptxas info    : Used 31 registers, used 1 barriers, 1024 bytes smem, 360 bytes cmem[0]
function bytes(text, what,    n, words, i) {
    n = split(text, words, /, */)
    for (i = 1; i <= n; i++)
        if (index(words[i], what))
            return words[i] + 0
    return 0
}
/Compiling entry function/ {
    split($0, part, "\047")
    kernel = part[2]
    architecture = part[4]
    properties = ""
    next
}
/Function properties for/ { of = $NF; next }
/bytes stack frame/ { if (of == kernel) properties = $0; next }
/ Used [0-9]+ registers/ && kernel != "" {
    sub(/.* Used /, "")
    if (!(kernel in entries))
        names[++n_names] = kernel
    registers = $0 + 0
    entry = sprintf("\"%s\": {\"registers\": %d, \"spill_stores\": %d, \"spill_loads\": %d, " \
                    "\"stack\": %d, \"shared\": %d, \"constant\": %d}", architecture, registers,
                    bytes(properties, "spill stores"), bytes(properties, "spill loads"),
                    bytes(properties, "stack frame"), bytes($0, "bytes smem"),
                    bytes($0, "bytes cmem[0]"))
    entries[kernel] = entries[kernel] (entries[kernel] == "" ? "" : ",\n  ") entry
    kernel = ""
}
END {
    printf "{"
    for (i = 1; i <= n_names; i++)
        printf "%s\n\"%s\": {\n  %s}", (i > 1 ? "," : ""), names[i], entries[names[i]]
    printf "\n}\n"
}'
