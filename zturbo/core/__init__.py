"""The pure machines: events and ``now`` in, effects out.

There is no socket, clock, thread or randomness in here; a test checks that. A machine is an object whose
methods are its events. It appends what it wants done to the list of :class:`~zturbo.core.effects.Effects`,
which the shell drains after each event; ``deadline()`` says when it wants ``tick(now)``; ``check()``
asserts its invariants.
"""
