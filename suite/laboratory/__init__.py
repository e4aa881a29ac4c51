"""The laboratory: process, noise law, head, sampler, grid and guidance put together on laws whose answer is known."""
