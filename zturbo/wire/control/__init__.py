"""The control messages: those that members, nodes and clients send to a broker, and its messages to them."""
