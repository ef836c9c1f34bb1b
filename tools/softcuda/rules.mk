# softcuda: its library, the libcuda.so.1 and the command, and the PTX of the test kernels.

SOFTCUDA_OPS     := $(wildcard tools/softcuda/ops_*.c)
SOFTCUDA_PROGRAM := tools/softcuda/main.c
SOFTCUDA_DRIVER  := $(wildcard tools/softcuda/driver_*.c)
SOFTCUDA_SOURCES := $(filter-out $(SOFTCUDA_OPS) $(SOFTCUDA_PROGRAM) $(SOFTCUDA_DRIVER),$(wildcard tools/softcuda/*.c))
SOFTCUDA_ISAS    := portable $(if $(filter x86_64,$(shell uname -m)),avx2)
SOFTCUDA_OBJECTS := $(call objects,$(SOFTCUDA_SOURCES)) \
    $(foreach isa,$(SOFTCUDA_ISAS),$(patsubst tools/softcuda/%.c,$(BUILD)/obj/tools/softcuda/%_$(isa).o,$(SOFTCUDA_OPS)))
SOFTCUDA_LIBRARY := $(BUILD)/softcuda/libsoftcuda.a
SOFTCUDA_COMMAND := $(BUILD)/softcuda/softcuda
SOFTCUDA_CUDA    := $(BUILD)/softcuda/libcuda.so.1
SOFTCUDA_TESTS   := $(patsubst tests/softcuda/%.c,$(BUILD)/tests/%,$(wildcard tests/softcuda/test_*.c))
# What the test programs share: the rig and the tables of instructions' cases.
SOFTCUDA_TEST_SUPPORT := $(filter-out tests/softcuda/test_% tests/softcuda/tool_%,$(wildcard tests/softcuda/*.c))

# The shared library takes these too.
$(SOFTCUDA_OBJECTS) $(call objects,$(SOFTCUDA_DRIVER) $(wildcard host/base/*.c) loaders/json.c): CFLAGS_BASE += -fPIC

# Handlers are compiled once for each instruction set. They switch the rounding mode, and their
# loops are to become vector code, which may compute what a lane does not use: nobody looks at
# floating-point exceptions.
OPS_FLAGS := -O3 -frounding-math -fno-trapping-math
$(BUILD)/obj/tools/softcuda/%_portable.o: tools/softcuda/%.c Makefile tools/softcuda/rules.mk
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(OPS_FLAGS) -DSOFTCUDA_ISA=portable -c $< -o $@
$(BUILD)/obj/tools/softcuda/%_avx2.o: tools/softcuda/%.c Makefile tools/softcuda/rules.mk
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(OPS_FLAGS) -mavx2 -mfma -mf16c -DSOFTCUDA_ISA=avx2 -c $< -o $@

$(SOFTCUDA_LIBRARY): $(SOFTCUDA_OBJECTS)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(SOFTCUDA_COMMAND): $(call objects,$(SOFTCUDA_PROGRAM)) $(SOFTCUDA_LIBRARY) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $^ $(LIBS) -o $@

# It stays in a process that has loaded it: leaks are looked for at the end.
$(SOFTCUDA_CUDA): $(call objects,$(SOFTCUDA_DRIVER)) $(SOFTCUDA_LIBRARY) $(LIBRARY) tools/softcuda/exports.map
	@mkdir -p $(@D)
	$(CC) -shared -Wl,-soname,libcuda.so.1 -Wl,-z,nodelete -Wl,--version-script=tools/softcuda/exports.map \
	    $(ALL_LDFLAGS) $(filter %.o %.a,$^) $(shell $(PKG_CONFIG) --libs jansson) -lm -ldl -o $@

$(BUILD)/tests/%: $(BUILD)/obj/tests/softcuda/%.o \
                  $(call objects,$(SOFTCUDA_TEST_SUPPORT) $(TEST_SUPPORT) $(REFERENCE_SOURCES)) \
                  $(SOFTCUDA_LIBRARY) $(LIBRARY) $(SHARED_IMAGES) | $(SOFTCUDA_CUDA)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) $(filter %.o,$^) $(SOFTCUDA_LIBRARY) $(LIBRARY) $(TEST_LIBS) -o $@

# A program of others': it knows of libcuda.so.1 only.
SOFTCUDA_LINKED := $(BUILD)/tests/tool_driver_program
$(SOFTCUDA_LINKED): $(call objects,tests/softcuda/tool_driver_program.c) $(SOFTCUDA_CUDA)
	$(CC) $(ALL_LDFLAGS) $^ -o $@

# Test kernels are compiled where there is an nvcc; tests that need them are skipped without.
SOFTCUDA_KERNELS := $(if $(NVCC),$(patsubst tests/softcuda/kernels/%.cu,$(BUILD)/tests/ptx/%.ptx,$(wildcard tests/softcuda/kernels/*.cu)))
$(BUILD)/tests/ptx/%.ptx: tests/softcuda/kernels/%.cu $(wildcard kernels/*.cuh)
	@mkdir -p $(@D)
	$(NVCC) -ptx -lineinfo -arch=compute_80 -I. $< -o $@

$(BUILD)/tests/ptx/module.ptx: $(wildcard tests/softcuda/kernels/real_*.cu tests/softcuda/kernels/*.cuh)

# What ptxas says of them, and of any other PTX under build/.
PTXAS_ARCHITECTURES := sm_80 sm_86 sm_89 sm_90 sm_120
$(BUILD)/%.resources.json: $(BUILD)/%.ptx tools/softcuda/ptxas_resources.sh
	PTXAS=$(PTXAS) sh tools/softcuda/ptxas_resources.sh $< $(PTXAS_ARCHITECTURES) >$@.tmp
	mv $@.tmp $@

softcuda-tests: $(BUILD)/tests/tool_softcuda_speed $(SOFTCUDA_COMMAND) $(SOFTCUDA_CUDA) $(SOFTCUDA_TESTS) $(SOFTCUDA_LINKED) $(SOFTCUDA_KERNELS)
