"""Training: the loop, what it minimises, and the average of the weights that is kept.

1. ``objectives.py``   losses a row, from a denoiser and clean values
2. ``loop.py``         `fit`: steps, schedule, budget, resume
3. ``ema.py``          exponential moving average of the weights
4. ``state.py``        the file that a stopped run goes on from
5. ``journal.py``      metrics.jsonl and the line on the terminal
6. ``processes.py``    one process or many: copies or shards of the network
"""
