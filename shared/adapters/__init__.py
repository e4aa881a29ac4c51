"""What is added to a trained network without changing it: controls, low-rank updates, and where they attach."""
