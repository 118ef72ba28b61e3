"""How the whole suite runs: Hypothesis profiles, and where GPU tests are skipped."""

import os

import pytest
from hypothesis import settings

from rpstheory.conformance.strategies import register_profiles

register_profiles()
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from rpstheory.backend import has_gpu

    for item in marked:
        if "networks" not in item.path.parts and not has_gpu():  # those of networks ask torch by themselves
            item.add_marker(pytest.mark.skip(reason="no CUDA device that CuPy can use"))
