"""The files of other launchers, made of a network file: Kubernetes, systemd, Compose."""
