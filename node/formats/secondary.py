"""DICOM secondary capture: slices of any origin, colour too, one file for each."""

from __future__ import annotations

from node.formats import base, dicom

FORMAT: base.Format = dicom.Classic("sc", "DICOM secondary capture, one file for each slice", capture=True)
