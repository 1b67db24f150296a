"""Every test runs on one thread, so that numbers repeat; a slow machine fails no property."""

import pytest
import torch
from hypothesis import settings

from tests import road

torch.set_num_threads(1)
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("steady")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a tiny `encoder` and its `data`, for tests that train."""
    folder = tmp_path_factory.mktemp("base")
    road.checkpoint(folder / "encoder")
    road.dataset(folder / "data")
    return folder
