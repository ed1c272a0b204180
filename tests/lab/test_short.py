"""The short form of the lab, in a process of its own: it goes to one of the hosts."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.hosts import need_hosts


@pytest.mark.timeout(600)
def test_jobs_go_on_whatever_happens_to_hosts() -> None:
    need_hosts()
    command = [sys.executable, "-m", "tests.lab", "--short", "--seed", "0"]
    lab = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said, _ = lab.communicate()
    finally:
        if lab.poll() is None:
            lab.send_signal(signal.SIGINT)  # then it removes the hosts
            lab.wait()
    assert lab.returncode == 0, said
