"""mixed.safetensors cut into shards by huggingface_hub, for tests/test_shards.c.

Made with huggingface_hub 2.4, safetensors 0.8 and torch 2.15:
    python3 tests/golden/make_shards.py
"""

import pathlib

from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

here = pathlib.Path(__file__).parent
save_torch_state_dict(load_file(here / "mixed.safetensors"), here / "shards", max_shard_size=150)
