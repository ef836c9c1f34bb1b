# An nvcc for those who have none, without a package manager's CUDA: NVIDIA's own wheels on PyPI,
# unpacked into build/cuda-toolkit; build/cuda.mk tells the Makefile. Part of tools/setup.sh, whose
# functions and variables it uses. About 270 MB.
# shellcheck shell=sh
# shellcheck disable=SC2154 # work is set by the script that reads this one

cuda_toolkit=build/cuda-toolkit
unpacked_nvcc=$cuda_toolkit/nvidia/cu13/bin/nvcc
# One release, so that every build is of the same compiler.
cuda_wheels='nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85'

has_nvcc() { have nvcc || { [ -x "$unpacked_nvcc" ] && [ -f build/cuda.mk ]; }; }

fetch_cuda_wheels() {
    rm -rf "$cuda_toolkit.new"
    # shellcheck disable=SC2086 # a list of wheels
    python3 -m pip install --quiet --no-input --disable-pip-version-check --no-deps \
        --target "$cuda_toolkit.new" $cuda_wheels
}

unpack_cuda_toolkit() {
    say 'Getting nvcc 13.0 (about 100 MB to download).'
    mkdir -p build
    persistently fetch_cuda_wheels || {
        rm -rf "$cuda_toolkit.new"
        return 1
    }
    rm -rf build/cuda.mk "$cuda_toolkit"
    mv "$cuda_toolkit.new" "$cuda_toolkit"
    chmod +x "$cuda_toolkit"/nvidia/cu13/bin/* "$cuda_toolkit"/nvidia/cu13/nvvm/bin/*
    "$unpacked_nvcc" --version >"$work/nvcc" 2>&1 || {
        cat "$work/nvcc" >&2
        return 1
    }
    {
        say "# Written by tools/setup.sh --cuda: nvcc lies in $cuda_toolkit. To do without, delete this"
        say '# file and that folder.'
        # shellcheck disable=SC2016 # make's own name of the root, so that the project can be moved
        say 'NVCC := $(CURDIR)/'"$unpacked_nvcc"
    } >"build/cuda.mk.$$"
    mv "build/cuda.mk.$$" build/cuda.mk
}
