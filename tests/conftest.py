"""Fixtures that tests of several rooms share."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from data_cache import shared_folder, unpacked
from netglot.runtime.envs import LackError

# A shell that starts the tests in the background has them, and whatever they start,
# ignore interrupts; some tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skip a framework whose Python or compiler this machine lacks, with the reason.

    With ``NETGLOT_TEST_EVERY=1`` it is an error.
    """
    try:
        yield
    except LackError as error:
        if os.environ.get("NETGLOT_TEST_EVERY") == "1":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real MNIST, CIFAR-10 and IMDB (mnist/, cifar10/, imdb/)."""
    folder = unpacked()
    if folder is None:
        pytest.skip(f"no real data sets: {shared_folder() / 'data'} is not there")
    return folder
