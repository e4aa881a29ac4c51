"""The control language: what should sound when, said once for page, command line, API, MIDI and training.

`controls.Controls` holds a melody, a dynamics curve, a beat grid, chords, a key, tags, the spans in which each binds,
and the exact length. `json_form` and `midi` write it down, `frames` turns it into curves a network reads, `roll` into
a piano roll. All times are seconds from the start of the clip, as floats; beats are counted by the grid.
"""
