"""Extractors: what a recording says in the control language. `extract.extract` runs them all.

Melody and dynamics are those of Music ControlNet (Wu et al. 2023); beats are librosa's, downbeats, chords and key are
chosen by templates. All of it is an estimate: a mix with drums and chords hides its melody from any of these.
"""
