"""Bytes <-> messages. Of zturbo, it imports only errors and their texts, and checks."""
