"""Both ends of the links that carry tasks: numbers, acks, credit, custody."""
