"""The control plane's vocabulary: what members, nodes and clients say to a broker, and it to them."""
