"""Folders and files of our processes."""
