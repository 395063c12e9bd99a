"""What vendors say in elements of their own: diffusion, phase encoding, scaling, parts of a complex image."""

from __future__ import annotations

import dataclasses

from node.dicom.syntax import Buffer


@dataclasses.dataclass(frozen=True, slots=True)
class Acquisition:
    """How the slices of a magnetic resonance series were acquired, as far as a header says; None: it does not.

    Seconds and hertz throughout, as BIDS has them.
    """

    manufacturer: str = ""  # "SIEMENS", "GE", "PHILIPS", "UIH", "CANON", or "" for others
    phase_axis: str = ""  # In-plane Phase Encoding Direction: "ROW", "COL", or "" for unknown
    phase_positive: bool | None = None  # along the stored rows or columns towards higher indices
    bandwidth_per_pixel_phase: float | None = None  # Hz (Siemens)
    effective_echo_spacing: float | None = None  # s, where the vendor says it (GE), of the stored matrix
    total_readout_time: float | None = None  # s, where the vendor says it
    dwell_time: float | None = None  # s, of one sample of the readout (Siemens)
    pixel_bandwidth: float | None = None  # Hz
    echo_train: float | None = None  # Echo Train Length
    epi_factor: float | None = None  # echoes of an EPI train, where a vendor says it apart (Philips)
    water_fat_shift: float | None = None  # pixels (Philips)
    field_strength: float | None = None  # T
    phase_steps: float | None = None  # Number of Phase Encoding Steps
    acquisition_matrix: tuple[int, int, int, int] | None = None  # frequency rows, columns, phase rows, columns
    percent_sampling: float | None = None  # Percent Sampling
    partial_fourier: float | None = None  # part of k-space that was acquired: 0.75
    parallel_factor: float | None = None  # in plane
    parallel_factor_out: float | None = None  # out of plane (3D)
    parallel_technique: str = ""  # "GRAPPA", "mSENSE", "SENSE", "ASSET"
    multiband_factor: float | None = None  # slices excited together
    base_resolution: float | None = None  # samples along the readout (Siemens)
    coil: str = ""  # Receive Coil Name
    slice_direction: float | None = None  # Siemens: +1 ascending along the stack, -1 descending


def acquisition(buffer: Buffer, syntax: str) -> Acquisition:
    """What the header of one data set says of its acquisition; raises BadData where it cannot be walked."""
    return Acquisition()
