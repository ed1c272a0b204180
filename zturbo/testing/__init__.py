"""For your tests: run a pipeline of your stages, in this process or in real ones, with a planted kill.

from zturbo.testing import run

def test_track_survives():
    assert run([Detect(), Track()], frames, kill="Track", after=10) == run([Detect(), Track()], frames)
"""

from zturbo.testing.pipeline import Outcome, TestPipeline, run

__all__ = ["Outcome", "TestPipeline", "run"]
