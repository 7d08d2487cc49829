"""What holds for all tests."""

import gc


def pytest_runtest_setup() -> None:
    """What there is before a test stays out of searches for garbage: ten thousand tests are millions of objects."""
    gc.collect()
    gc.freeze()
