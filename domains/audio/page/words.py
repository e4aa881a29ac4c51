"""The words of the page: who may use the music, what happens, how to do the same again."""

from __future__ import annotations

from typing import Final

LICENCE: Final = (
    "<strong>The music is yours</strong>, for any use: the model learned from music that this project composed itself, "
    "from nobody's recordings. It is made by a machine, and every file says so in its own metadata (SYNTHETIC)."
)

EXPLAIN: Final = """
**What happens.** The lanes say what the music shall do and when. A network writes a score for melody, chords, bass and
drums: it starts from noise and, step by step, comes to notes that fit what is asked. The score is then played by
instruments of this suite. So every note is on your beat grid, the MIDI file is the music itself, stems are exact, and a
loop has exactly its samples.

**Asked, obtained, left free.** What is asked is drawn solid, what a take does is drawn over it in dashes. Grey parts
are left to the model: brush with *Leave free*, or untick a lane. Melody and chords are compared in the notes; dynamics
and beats in the sound, by the extractors that also read recordings, which err now and then.

**Dynamics** are decibels of the mix: 0 is full scale, about −15 is loud music, −40 hardly there. They go to how hard
notes are struck.

**Tempo.** *BPM* with *notes follow* stretches everything; ÷2 and ×2 mend a tempo that was heard as its double or half,
the notes stay where they are. Taps set the tempo; taps while something plays set the beats, the first of them a bar.
*Calibrate* finds how late your taps come. A metre and a number of bars give the exact length.

**More like this** keeps a run near to one take: change 0 repeats it, 1 is another piece. **Change a take** writes some
of its bars or parts anew, or lets it go on; every other note stays. The new takes stand in place of the old.

**Equal loudness** plays all takes at one loudness (ITU-R BS.1770), by lowering the louder ones; files stay as they are.

**Limits.** The model knows the composed world alone: ten genres, ten moods, a band of four, sixteenths, 4/4, 3/4 and
6/8. It has no voices. What it cannot follow is said after the run.
"""

AGAIN: Final = """
The command does what *Run* did. `asked.json` among the files holds what the lanes asked for; every sound file carries
the settings inside. Drop `asked.json` under *Open a project* to have everything back.
"""

OPEN: Final = """
`asked.json` of a run brings back lanes and settings; controls written by `suite audio extract` fill the lanes.
"""
