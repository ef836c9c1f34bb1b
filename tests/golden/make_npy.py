"""Small arrays as NumPy writes them, for tests/test_npy.c, into tests/golden/npy.

Made with NumPy 2.x (any version from 1.23 on writes the same bytes):
    python3 tests/golden/make_npy.py
"""

import pathlib

import numpy as np

folder = pathlib.Path(__file__).parent / "npy"
folder.mkdir(exist_ok=True)

# Value i is (i - 3) / 8 in floats, i - 3 in int32: exact in all three types.
for name, dtype in (("f32", "<f4"), ("f16", "<f2"), ("i32", "<i4")):
    scale = 1 if name == "i32" else 8
    values = lambda n: ((np.arange(n) - 3) / scale).astype(dtype)
    np.save(folder / f"{name}_5x3.npy", values(15).reshape(5, 3))
    np.save(folder / f"{name}_7.npy", values(7))
np.save(folder / "f32_0x576.npy", np.zeros((0, 576), "<f4"))
np.save(folder / "f16_1234x1.npy", ((np.arange(1234) - 3) / 8).astype("<f2").reshape(-1, 1))
for version in ((2, 0), (3, 0)):
    with open(folder / f"f32_5x3_v{version[0]}.npy", "wb") as file:
        values = ((np.arange(15) - 3) / 8).astype("<f4").reshape(5, 3)
        np.lib.format.write_array(file, values, version=version)
