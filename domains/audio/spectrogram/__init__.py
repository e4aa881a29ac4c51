"""Engine 1: sound as a mel spectrogram, made by diffusion under controls (Music ControlNet, Wu et al. 2023)."""
