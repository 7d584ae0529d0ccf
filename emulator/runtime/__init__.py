"""What drives kernels through time: in this process, or on Ray."""
