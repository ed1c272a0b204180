"""The pure machines: events and ``now`` in, effects out.

There is no socket, clock, thread or randomness in here; a test checks that. A machine is an object whose
methods are its events. It appends its effects (:mod:`zturbo.core.effects`) to a list, which the shell empties
after each event. ``deadline()`` tells when the machine wants ``tick(now)``. ``check()`` asserts its
invariants.
"""
