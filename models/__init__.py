"""What is learned: methods, backbones, networks and losses. A leaf: it knows nothing of `bench`."""
