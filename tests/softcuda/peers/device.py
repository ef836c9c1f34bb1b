"""Running kernels of a PTX text on softcuda from Python: the driver API by ctypes, arrays of numpy.

    with Device("build/softcuda/libcuda.so.1") as device:
        module = device.load("kernels.ptx")
        x = device.upload(numpy.ones(100, "float32"))
        module.launch("scale<float>", grid=1, block=128, arguments=[x, 2.0, 100])
        print(x.download())

Needs numpy, and c++filt for kernels' names. An allocation has exactly the bytes of its array, if
not asked otherwise, so that softcuda sees a kernel that reaches behind it. What a part of a program
costs is counted by `with device.counted() as report`, a report of softcuda.
"""
import contextlib
import ctypes
import json
import os
import re
import subprocess
import tempfile

import numpy

# What a parameter of a kernel is to ctypes, by its type in the PTX.
PARAMETERS = {"u64": ctypes.c_uint64, "s64": ctypes.c_int64, "b64": ctypes.c_uint64,
              "u32": ctypes.c_uint32, "s32": ctypes.c_int32, "b32": ctypes.c_uint32,
              "u16": ctypes.c_uint16, "s16": ctypes.c_int16, "u8": ctypes.c_uint8,
              "s8": ctypes.c_int8, "f32": ctypes.c_float, "f64": ctypes.c_double}
MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class DriverError(Exception):
    pass


def check(driver, what, code):
    if code != 0:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        raise DriverError(f"{what}: {(name.value or b'?').decode()}")


class Buffer:
    def __init__(self, driver, array, granularity):
        self.driver, self.shape, self.dtype = driver, array.shape, array.dtype
        self.size, address = array.nbytes, ctypes.c_uint64()
        rounded = -(-max(self.size, 1) // granularity) * granularity
        check(driver, "cuMemAlloc",
              driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(rounded)))
        self.address = address.value

    def write(self, array):
        array = numpy.ascontiguousarray(array, self.dtype)
        check(self.driver, "cuMemcpyHtoD", self.driver.cuMemcpyHtoD_v2(
            ctypes.c_uint64(self.address), ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(self.size)))

    def download(self):
        array = numpy.empty(self.shape, self.dtype)
        check(self.driver, "cuMemcpyDtoH", self.driver.cuMemcpyDtoH_v2(
            ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(self.address),
            ctypes.c_size_t(self.size)))
        return array


class Module:
    """Kernels by their names in C++ without the list of parameters: "kernel<float, 4>"."""

    def __init__(self, driver, path):
        with open(path, "rb") as f:
            text = f.read()
        self.driver, self.handle = driver, ctypes.c_void_p()
        check(driver, path, driver.cuModuleLoadData(ctypes.byref(self.handle), text + b"\0"))
        found = re.findall(r"\.entry\s+(\w+)\s*\(([^)]*)\)", text.decode())
        names = subprocess.run(["c++filt"], input="\n".join(name for name, _ in found),
                               capture_output=True, text=True, check=True).stdout.split("\n")
        self.kernels = {}
        for (mangled, parameters), name in zip(found, names):
            short = re.sub(r"^void ", "", name)
            depth, end = 0, len(short)
            for i, c in enumerate(short):
                depth += (c == "<") - (c == ">")
                if c == "(" and depth == 0:
                    end = i
                    break
            types = re.findall(r"\.param\s+\.(\w+)", parameters)
            self.kernels[short[:end].replace("(int)", "")] = (mangled, types)

    def launch(self, name, grid, block, arguments, shared=0):
        """arguments: buffers, None for a null pointer, numbers. Waits for the kernel's end."""
        mangled, types = self.kernels[name]
        if len(types) != len(arguments):
            raise DriverError(f"{name} takes {len(types)} arguments, not {len(arguments)}")
        function = ctypes.c_void_p()
        check(self.driver, name, self.driver.cuModuleGetFunction(
            ctypes.byref(function), self.handle, mangled.encode()))
        if shared:
            check(self.driver, name, self.driver.cuFuncSetAttribute(
                function, MAX_DYNAMIC_SHARED, shared))
        values = []
        for kind, argument in zip(types, arguments):
            if isinstance(argument, Buffer):
                argument = argument.address
            values.append(PARAMETERS[kind](0 if argument is None else argument))
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        size = list(grid if isinstance(grid, tuple) else (grid,)) + [1, 1]
        check(self.driver, name, self.driver.cuLaunchKernel(
            function, size[0], size[1], size[2], block, 1, 1, shared, None, pointers, None))
        check(self.driver, name, self.driver.cuCtxSynchronize())


class Device:
    """granularity: what sizes of allocations are rounded up to."""

    def __init__(self, library, granularity=1):
        self.granularity = granularity
        self.driver = ctypes.CDLL(library)
        self.buffers, self.modules = [], []

    def __enter__(self):
        context = ctypes.c_void_p()
        check(self.driver, "cuInit", self.driver.cuInit(0))
        check(self.driver, "cuDevicePrimaryCtxRetain",
              self.driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
        check(self.driver, "cuCtxSetCurrent", self.driver.cuCtxSetCurrent(context))
        return self

    def __exit__(self, *_):
        for module in self.modules:
            self.driver.cuModuleUnload(module.handle)
        self.free()
        self.driver.cuDevicePrimaryCtxRelease_v2(0)

    def free(self):
        """All buffers so far."""
        for buffer in self.buffers:
            self.driver.cuMemFree_v2(ctypes.c_uint64(buffer.address))
        self.buffers = []

    def synchronize(self):
        check(self.driver, "cuCtxSynchronize", self.driver.cuCtxSynchronize())

    @contextlib.contextmanager
    def counted(self):
        """What is launched inside is counted; behind it, the dictionary holds the report."""
        report = {}
        check(self.driver, "softcudaCountBegin", self.driver.softcudaCountBegin())
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            try:
                yield report
            finally:
                code = self.driver.softcudaCountEnd(path.encode())
            check(self.driver, "softcudaCountEnd", code)
            with open(path, encoding="utf-8") as f:
                report.update(json.load(f))

    def load(self, path):
        self.modules.append(Module(self.driver, path))
        return self.modules[-1]

    def empty(self, shape, dtype):
        """Memory that nobody has written: a kernel that reads it is reported."""
        self.buffers.append(Buffer(self.driver, numpy.empty(shape, dtype), self.granularity))
        return self.buffers[-1]

    def upload(self, array):
        array = numpy.ascontiguousarray(array)
        buffer = self.empty(array.shape, array.dtype)
        buffer.write(array)
        return buffer
