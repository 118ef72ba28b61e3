"""How the whole suite runs: Hypothesis profiles, and where GPU tests are skipped."""

import os

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: a shared machine, or a kernel compiled first, is slow for reasons of its own.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,  # a change fails by what it changed, never by what was drawn today
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("nightly", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from rpstheory.backend import has_gpu

    if not has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device that CuPy can use"))
