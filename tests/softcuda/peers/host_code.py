"""Running another program's own launchers on softcuda: its host code, compiled with runtime.c in
the place of the CUDA runtime, chooses kernels, grids and shared memory as it does on a card.

    said = compile_host_code("peer.so", ["peer.cu"], softcuda="build/softcuda", architecture=89)
    with Device("build/softcuda/libcuda.so.1") as device:
        peer = HostCode("peer.so")
        x = device.upload(numpy.ones(100, "float32"))
        peer.call("scale", x, ctypes.c_float(2), 100)

Addresses, numbers and None are what a function in C takes. Errors of the driver that the launcher
does not look at are raised.
"""
import ctypes
import os
import subprocess

from device import Buffer, DriverError

HERE = os.path.dirname(os.path.abspath(__file__))


def compile_host_code(path, sources, softcuda, architecture, flags=()):
    """A library with PTX of an architecture (89), and what ptxas says of its machine code.

    softcuda: the folder of libcuda.so.1. Give the text to tools/softcuda/ptxas_resources.sh.
    """
    targets = f"arch=compute_{architecture},code=[compute_{architecture},sm_{architecture}]"
    result = subprocess.run(
        [os.environ.get("NVCC", "nvcc"), "-shared", "-Xcompiler", "-fPIC", "-cudart", "none",
         "--no-compress", "-lineinfo", "-gencode", targets, "-Xptxas", "-v", *flags, *sources,
         os.path.join(HERE, "runtime.c"), "-L", softcuda, "-l:libcuda.so.1", "-o", path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        raise SystemExit(f"nvcc cannot compile {path}:\n{result.stdout}")
    return result.stdout


class HostCode:
    """A library that compile_host_code has made. A Device is open, so that its driver is found."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.runtime_failure.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        """A function without a result that launches kernels, which may still be queued."""
        values = [ctypes.c_void_p(x.address) if isinstance(x, Buffer) else
                  ctypes.c_void_p(None) if x is None else x for x in arguments]
        getattr(self.library, name)(*values)
        failure = self.library.runtime_failure()
        if failure:
            raise DriverError(failure.decode())
