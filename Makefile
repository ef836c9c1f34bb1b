# midashi: `make help` lists the targets. Everything that is made goes under build/.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
MAKEFLAGS += --no-print-directory

# tools/setup.sh writes build/setup.mk where libraries lie in build/sysroot.
-include build/setup.mk

PACKAGES      := jansson libpcre2-8 icu-uc zlib
PKG_CONFIG    ?= pkg-config
CFLAGS_BASE   := -std=gnu11 -g -O2 -ffp-contract=off -fno-math-errno -pthread -I. \
                 -Wall -Wextra -Wshadow $(if $(WERROR),-Werror) -MMD -MP
PACKAGE_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
PACKAGE_LIBS   = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lmecab
CFLAGS        ?=
LDFLAGS       ?=
ALL_CFLAGS     = $(CFLAGS_BASE) $(SETUP_CFLAGS) $(PACKAGE_CFLAGS) $(SANITIZE) $(CFLAGS)
ALL_LDFLAGS    = -pthread $(SETUP_LDFLAGS) $(SANITIZE) $(LDFLAGS)
LIBS           = $(PACKAGE_LIBS) -lm -ldl

LIBRARY_SOURCES   := $(wildcard host/base/*.c kernels/*.c loaders/*.c host/*.c)
TOOL_SOURCES      := $(wildcard tools/midashi/*.c)
REFERENCE_SOURCES := $(wildcard tests/reference/*.c)
TEST_SOURCES      := $(wildcard tests/test_*.c)
TEST_SUPPORT      := tests/support.c tests/gradient_check.c tests/model_writer.c tests/cuda_support.c \
                     tests/cuda_calls.c tests/cuda_counters.c tests/cuda_rope.c tests/cuda_weights.c \
                     tests/stories_model.c tests/training.c tests/training_golden.c \
                     tests/training_parity.c
BENCH_SOURCES     := $(wildcard bench/*.c bench/rows/*.c)
FUZZ_SOURCES      := $(wildcard tests/fuzz/fuzz_*.c)

# ---- kernels for GPUs: where there is no nvcc, the program computes on the CPU only -----------

# tools/setup.sh --cuda writes build/cuda.mk where it has put an nvcc into build/cuda-toolkit.
-include build/cuda.mk
NVCC         ?= $(shell command -v nvcc)
PTXAS         = $(firstword $(wildcard $(dir $(NVCC))ptxas $(dir $(realpath $(NVCC)))ptxas) ptxas)
CUDA_KERNELS := $(if $(NVCC),$(wildcard kernels/*.cu bench/*.cu))
CUDA_CODES    = $(filter sm_80 sm_86 sm_89 sm_90 sm_120,$(shell $(NVCC) --list-gpu-code))
CUDA_FLAGS   := -I. -lineinfo -std=c++17
# Lines for softcuda, in the PTX. In the cards' code they would be two thirds of it: a profiler is
# given them by `make CUBIN_FLAGS=`.
CUBIN_FLAGS  := -Xptxas --suppress-debug-info
comma        := ,
empty        :=
# One front end for all: each card's code descends from the PTX that the tests run.
CUDA_TARGETS  = arch=compute_80$(comma)code=[$(subst $(empty) $(empty),$(comma),$(strip $(CUDA_CODES)))$(comma)compute_80]
CUDA_IMAGES  := $(patsubst %.cu,$(BUILD)/cuda/%.fatbin,$(notdir $(CUDA_KERNELS)))
CUDA_PTX     := $(patsubst %.cu,$(BUILD)/ptx/%.ptx,$(notdir $(CUDA_KERNELS)))
vpath %.cu kernels bench

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIBRARY := $(BUILD)/libmidashi.a
IMAGES  := $(BUILD)/obj/cuda_images.o
SHARED_IMAGES := $(BUILD)/tests/libcuda_images.so
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TEST_SOURCES) $(wildcard tests/tool_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SOURCES))

.DEFAULT_GOAL := all
include tools/softcuda/rules.mk
.PHONY: FORCE all demo check check-cuda asan ubsan tsan bench bench-peers fuzz fuzzers format install clean help tests softcuda-tests
.SECONDARY:

all: $(BUILD)/midashi $(SOFTCUDA_COMMAND) $(SOFTCUDA_CUDA) $(if $(NVCC),$(BUILD)/ptx/resources.json) ## build build/midashi and build/softcuda/softcuda

$(BUILD)/obj/%.o: %.c Makefile tools/softcuda/rules.mk $(wildcard build/setup.mk)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/cuda/%.fatbin: %.cu Makefile $(wildcard build/cuda.mk)
	@mkdir -p $(@D)
	$(NVCC) -fatbin --no-compress $(CUDA_FLAGS) $(CUBIN_FLAGS) -gencode '$(CUDA_TARGETS)' -MMD -MF $@.d $< -o $@

$(BUILD)/ptx/%.ptx: %.cu Makefile $(wildcard build/cuda.mk)
	@mkdir -p $(@D)
	$(NVCC) -ptx -arch=compute_80 $(CUDA_FLAGS) -MMD -MF $@.d $< -o $@

# Registers and spills of all kernels on the cards that softcuda stands for.
$(BUILD)/ptx/resources.json: $(CUDA_PTX) tools/softcuda/ptxas_resources.sh
	PTXAS='$(PTXAS)' sh tools/softcuda/ptxas_resources.sh $(CUDA_PTX) sm_86 sm_89 sm_90 >$@.tmp
	mv $@.tmp $@

# The table of host/base/cuda_images.h.
$(BUILD)/cuda/images.c: tools/cuda_images.sh $(CUDA_IMAGES) Makefile
	@mkdir -p $(@D)
	NVCC='$(NVCC)' sh tools/cuda_images.sh $(CUDA_IMAGES) >$@.tmp
	mv $@.tmp $@
$(IMAGES): $(BUILD)/cuda/images.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIC -c $< -o $@
# A hundred test programs share theirs.
$(SHARED_IMAGES): $(IMAGES)
	@mkdir -p $(@D)
	$(CC) -shared -Wl,-soname,$(@F) $< -o $@

# Which commit `midashi bench` says it is: written anew only when it has changed.
build/commit.h: FORCE
	@mkdir -p $(@D)
	@commit=$$(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown); \
	line="#define MIDASHI_COMMIT \"$$commit\""; \
	[ "$$(cat $@ 2>/dev/null)" = "$$line" ] || echo "$$line" >$@
$(BUILD)/obj/tools/midashi/bench_machine.o: build/commit.h
FORCE:

$(LIBRARY): $(call objects,$(LIBRARY_SOURCES))
	@rm -f $@
	$(AR) rcs $@ $^

# What `midashi bench` needs beside the library: its rows, and the references that verify them.
BENCH_OBJECTS = $(call objects,$(BENCH_SOURCES) $(REFERENCE_SOURCES))

$(BUILD)/midashi: $(call objects,$(TOOL_SOURCES)) $(BENCH_OBJECTS) $(IMAGES) $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/quality: $(call objects,$(wildcard tools/quality/*.c)) $(IMAGES) $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(call objects,$(TEST_SUPPORT)) \
                       $(call objects,$(REFERENCE_SOURCES)) $(LIBRARY) $(SHARED_IMAGES)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $(filter %.o,$^) $(LIBRARY) $(TEST_LIBS) -o $@

TEST_LIBS = $(SHARED_IMAGES) -Wl,-rpath,$(abspath $(BUILD)/tests) $(shell $(PKG_CONFIG) --libs check) $(LIBS)

# This one runs the commands themselves.
$(BUILD)/tests/test_out_of_memory: $(filter-out %/main.o,$(call objects,$(TOOL_SOURCES) $(BENCH_SOURCES)))

$(BUILD)/tests/test_bench: $(call objects,$(BENCH_SOURCES))
# `midashi bench` with operations of its own.
$(BUILD)/tests/tool_bench: $(filter-out %/main.o %/operations.o,$(call objects,$(TOOL_SOURCES) $(BENCH_SOURCES)))

# By tests/fuzz/run.sh, which sets compiler and sanitizers.
$(BUILD)/fuzz/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/support.o \
                      $(IMAGES) $(SOFTCUDA_LIBRARY) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer $(filter-out %.a,$^) $(SOFTCUDA_LIBRARY) $(LIBRARY) $(LIBS) -o $@

# This one reads the command line.
$(BUILD)/fuzz/fuzz_options: $(filter-out %/main.o,$(call objects,$(TOOL_SOURCES))) $(BENCH_OBJECTS)

fuzzers: $(FUZZERS)

tests: all $(BUILD)/quality $(TESTS) softcuda-tests

demo: ## run the main job: a model, a corpus, named topics (tools/demo.sh)
	sh tools/demo.sh

check: tests ## build and run all tests
	sh tests/run.sh $(BUILD)

check-cuda: tests ## kernels and models for GPUs on softcuda, in full
	@set -e; for test in $(BUILD)/tests/test_cuda_*[a-z0-9]; do \
	    case $$test in *.*) continue ;; esac; \
	    MIDASHI_CUDA_TESTS=full MIDASHI_BUILD=$(BUILD) CK_DEFAULT_TIMEOUT=7200 $$test; \
	done

asan: ## the tests under AddressSanitizer and LeakSanitizer
	$(MAKE) BUILD=build/asan SANITIZE="-fsanitize=address -fno-omit-frame-pointer" check

ubsan: ## the tests under UndefinedBehaviorSanitizer
	$(MAKE) BUILD=build/ubsan SANITIZE="-fsanitize=undefined -fno-sanitize-recover=all" check

tsan: ## the tests under ThreadSanitizer
	$(MAKE) BUILD=build/tsan SANITIZE="-fsanitize=thread" check

bench: $(BUILD)/midashi ## time the kernels against this machine's own limits (midashi bench)
	$(BUILD)/midashi bench

bench-peers: $(BUILD)/midashi ## time embedding, training and k-means beside other programs (bench/peers/README.md)
	@set -e; for script in llama_cpp transformers peft scikit_learn faiss; do \
	    python3 bench/peers/run_$$script.py; \
	done

FUZZ_SECONDS ?= 60
fuzz: ## each fuzzer for a minute (FUZZ_SECONDS=60); needs clang
	sh tests/fuzz/run.sh $(BUILD)/fuzz $(FUZZ_SECONDS)

format: ## clang-format over the C sources
	clang-format -i $(shell git ls-files '*.c' '*.h')

install: all ## install to PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/softcuda
	install -m 755 $(BUILD)/midashi $(SOFTCUDA_COMMAND) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(SOFTCUDA_CUDA) $(DESTDIR)$(PREFIX)/lib/softcuda

clean: ## remove what was built, not what was downloaded
	rm -rf $(BUILD)/obj $(BUILD)/tests $(BUILD)/bench $(BUILD)/fuzz $(BUILD)/asan $(BUILD)/ubsan \
	       $(BUILD)/tsan $(BUILD)/softcuda $(BUILD)/cuda $(BUILD)/ptx \
	       $(LIBRARY) $(BUILD)/midashi $(BUILD)/quality

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(BUILD)/obj $(BUILD)/cuda $(BUILD)/ptx -name '*.d' 2>/dev/null)
