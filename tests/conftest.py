"""What holds for all tests."""

import gc


def pytest_collection_finish() -> None:
    """Ten thousand tests are more than a million objects: a search for garbage need not look through them each time."""
    gc.collect()
    gc.freeze()
