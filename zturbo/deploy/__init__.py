"""Turns a network file, or a System's stages, into the processes of a host."""
