"""What a node's sends run into: kernel, clock, channels, network, accelerators."""
