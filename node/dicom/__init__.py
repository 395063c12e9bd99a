"""Pure facts about DICOM bytes and data sets: no input or output; may be used by every layer above."""
