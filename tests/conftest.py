"""Fixtures that tests of several rooms share."""

from pathlib import Path

import pytest

from data_cache import shared_folder, unpacked


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real MNIST, CIFAR-10 and IMDB (mnist/, cifar10/, imdb/)."""
    folder = unpacked()
    if folder is None:
        pytest.skip(f"no real data sets: {shared_folder() / 'data'} is not there")
    return folder
