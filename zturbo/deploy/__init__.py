"""From a network file or a System's stages to the processes of a host."""
