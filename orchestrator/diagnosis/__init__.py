"""Why an engine did not come up, or ended: its log, how it ended and a catalogue of signatures, joined into one answer
with the cure. Pure: the log and the catalogue reach it as values (`diagnosis_data`)."""
