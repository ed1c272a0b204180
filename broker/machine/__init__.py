"""The broker's decisions: a machine that has parts, each for one side of it."""
