"""The broker: jobs, membership, placement, dispatch. zturbo never imports this package."""
