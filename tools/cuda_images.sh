#!/bin/sh
# Writes the C file with the compiled kernels (host/base/cuda_images.h) to standard output:
#   NVCC=nvcc sh tools/cuda_images.sh BUILD/cuda/NAME.fatbin...
# Without arguments the table is empty: there was no nvcc.
set -eu
version=0
if [ $# -gt 0 ]; then
    # "... release 13.0, V13.0.88" -> 13000
    version=$("$NVCC" --version | sed -n 's/.*release \([0-9]*\)\.\([0-9]*\),.*/\1 \2/p')
    # shellcheck disable=SC2086 # two numbers
    set -- $version "$@"
    version=$(($1 * 1000 + $2 * 10))
    shift 2
else
    echo 'no nvcc was found: midashi is built for the CPU only (tools/setup.sh --cuda gets one)' >&2
fi
echo '/* Made by tools/cuda_images.sh. */'
echo '#include <stddef.h>'
echo '#include "host/base/cuda_images.h"'
for file; do
    name=$(basename "$file" .fatbin)
    printf '__asm__(".pushsection .rodata\\n.balign 64\\n.globl cuda_image_%s\\n.hidden cuda_image_%s\\n"\n' "$name" "$name"
    printf '        "cuda_image_%s:\\n.incbin \\"%s\\"\\n.popsection\\n");\n' "$name" "$file"
    printf 'extern const unsigned char cuda_image_%s[];\n' "$name"
    # The PTX in it is text.
    kernels=$(grep -ao '\.entry [A-Za-z0-9_]*' "$file" | sort -u | sed 's/^.entry \(.*\)/"\1", /')
    [ -n "$kernels" ] || { echo "cuda_images.sh: $file: no kernels in it" >&2; exit 1; }
    printf 'static const char *const kernels_of_%s[] = {%sNULL};\n' "$name" "$(echo "$kernels" | tr -d '\n')"
done
echo 'const struct cuda_image cuda_images[] = {'
for file; do
    name=$(basename "$file" .fatbin)
    printf '    {"%s", cuda_image_%s, kernels_of_%s},\n' "$name" "$name" "$name"
done
echo '    {0},'
echo '};'
echo "const int cuda_build_version = $version;"
