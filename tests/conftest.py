"""One thread, so that tests do not fight each other for cores; the same examples everywhere."""

import os
from pathlib import Path

# Triton decides whether to interpret when it is first imported, which torch may do. Where there
# is no NVIDIA driver, nothing else here could run its kernels.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch
from hypothesis import settings

settings.register_profile("mmspec", deadline=None, derandomize=True, database=None)
settings.load_profile("mmspec")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
