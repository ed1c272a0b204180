"""A page in the browser, and metrics: a viewer of the broker, in a process of its own."""
