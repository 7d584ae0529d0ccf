"""PoPeC: peak-age offloading for many priorities, negotiated by the nodes (arXiv 2303.15119)."""
