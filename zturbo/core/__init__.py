"""The pure machines: events and ``now`` in, effects out.

No socket, clock, thread or randomness in here; a test holds that. A machine is an object whose
methods are its events. What it wants done it appends to :class:`~zturbo.core.effects.Effects`,
which the shell drains after each event; ``deadline()`` says when it wants ``tick(now)``; ``check()``
asserts its invariants.
"""
