"""The parts of the audio page: lanes, takes, tables of what is asked, what happens at a click, and the words."""
