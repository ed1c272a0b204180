"""Bytes <-> messages. Imports nothing of ours but the errors."""
