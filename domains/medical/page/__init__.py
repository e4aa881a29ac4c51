"""The parts of the lesion page: what a visitor has loaded and drawn, the viewer, the results, the words."""
