"""Other libraries' networks and pipelines; each is imported inside the function that uses it.

1. ``scheduler_config.py``  a scheduler's configuration -> process, head, meaning of its timesteps
2. ``timesteps.py``         the grid that such a scheduler walks
3. ``schedulers.py``        our samplers as a scheduler of a diffusers pipeline (several calls a step: ``replay.py``)
4. ``denoisers.py``         networks of diffusers and MONAI as denoisers of ours
5. ``diffusers_networks.py``, ``monai_networks.py``    their weights in networks of ours (rules: ``renaming.py``)
"""
