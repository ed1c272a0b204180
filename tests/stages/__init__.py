"""Stages that tests run in worker processes, a module for each subject."""
