"""What goes over sockets, and what is done about what comes."""
