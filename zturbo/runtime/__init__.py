"""Sockets, threads and processes: the thin shells around the machines of :mod:`zturbo.core`."""
