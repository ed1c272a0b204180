"""A host that is unplugged while ``zturbo deploy`` is at work on it.

    python -m pytest tests/system/unplugged.py

It takes a minute, so it is not part of all tests.
"""

from __future__ import annotations

from tests.support.sshd import Lab
from tests.system.test_deploy import break_off
from tests.system.test_deploy import lab as lab


def test_a_host_that_is_unplugged_half_way_has_nothing_begun(lab: Lab) -> None:
    """Both ends notice it by themselves: no end of the connection reaches them."""
    break_off(lab, "unplugged")
