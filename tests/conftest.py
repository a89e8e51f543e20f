"""Fixtures that tests of several rooms share."""

import signal
from pathlib import Path

import pytest

from data_cache import shared_folder, unpacked

# A shell that starts the tests in the background has them, and whatever they start,
# ignore interrupts; some tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real MNIST, CIFAR-10 and IMDB (mnist/, cifar10/, imdb/)."""
    folder = unpacked()
    if folder is None:
        pytest.skip(f"no real data sets: {shared_folder() / 'data'} is not there")
    return folder
