"""Every test begins as a new flow does."""

import pytest

from flows.proc import ending_children


@pytest.fixture(autouse=True)
def _no_flow_ends() -> None:
    """Forget that a flow was ended in this process by the test before."""
    with ending_children():
        pass
