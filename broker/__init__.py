"""The broker: jobs, membership, placement, dispatch. Its import name is ``zturbo_broker``."""
