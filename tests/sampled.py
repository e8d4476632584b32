"""On which model families a test runs.

What takes long runs on every second to eighth family, each test on others; with
NEUROEXAPT_TEST_FAMILIES=all every test runs on all.
"""

import os

import pytest
from families import FAMILIES

ALL = os.environ.get("NEUROEXAPT_TEST_FAMILIES") == "all"


def families(start: int = 0, step: int = 1) -> pytest.MarkDecorator:
    """Parametrise a test by every `step`-th family from `start` on."""
    chosen = FAMILIES if ALL else FAMILIES[start::step]
    return pytest.mark.parametrize("family", chosen, ids=lambda family: family.name)


each_family = families()
