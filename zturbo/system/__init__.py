"""A whole pipeline on one machine: System, debug mode, process_map."""
