"""Enhanced multi-frame objects: CT, MR over time, with diffusion, in two stacks, and PET."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom import sequence

from tests import make, series_mr
from tests import series_base as base

ENHANCED = {"CT": base.CT + ".1", "MR": base.MR + ".1", "PT": "1.2.840.10008.5.1.4.1.1.130"}
SLICES, TIMES = 4, 3
_STACK, _IN_STACK, _TIME, _B = 0x00209056, 0x00209057, 0x00209128, 0x00189087
_CONTENT = 0x00209111


def enhanced(
    name: str,
    modality: str,
    *,
    times: int = 1,
    diffusing: bool = False,
    stacks: tuple[base.Grid, ...] = (base.OBLIQUE,),
    maker: str = "Test",
) -> list[pydicom.Dataset]:
    """One file whose frames lie in an order of their own: slice slowest, against the normal."""
    made = base.instance(name, ENHANCED[modality], modality, 1)
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.Manufacturer = maker
    volumes = len(series_mr.DIFFUSION) if diffusing else times
    frames = [
        (stack, volume, slice_)
        for stack in range(len(stacks))
        for slice_ in reversed(range(SLICES))
        for volume in range(volumes)
    ]
    base.pixels(made, np.stack([base.voxels((s * volumes + v) * SLICES + at) for s, v, at in frames]))
    made.AcquisitionDateTime, made.ContentQualification = "20260314101700", "PRODUCT"
    made.VolumetricProperties = "VOLUME"
    made.PresentationLUTShape, made.BurnedInAnnotation = "IDENTITY", "NO"
    made.PatientPosition = stacks[0].position
    pointers = [(_STACK, _CONTENT), (_IN_STACK, _CONTENT)]
    if diffusing:
        pointers.append((_B, 0x00189117))
    elif times > 1:
        pointers.append((_TIME, _CONTENT))
    organization = make.uid(name, "dimensions")
    made.DimensionOrganizationSequence = base.item(DimensionOrganizationUID=organization)
    made.DimensionIndexSequence = sequence.Sequence(
        base.fields(
            DimensionOrganizationUID=organization, DimensionIndexPointer=of, FunctionalGroupPointer=group
        )
        for of, group in pointers
    )
    made.SharedFunctionalGroupsSequence = sequence.Sequence([_shared(modality, stacks[0], times)])
    made.PerFrameFunctionalGroupsSequence = sequence.Sequence(
        _frame(modality, stacks[stack], stack, volume, slice_, times, diffusing)
        for stack, volume, slice_ in frames
    )
    return [made]


def _shared(modality: str, grid: base.Grid, times: int) -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.PixelMeasuresSequence = base.item(
        PixelSpacing=list(grid.spacing), SliceThickness=grid.distance, SpacingBetweenSlices=grid.distance
    )
    kind = base.item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    if modality == "MR":
        kind[0].ComplexImageComponent = "MAGNITUDE"
        made.MRImageFrameTypeSequence = kind
        made.MRTimingAndRelatedParametersSequence = base.item(RepetitionTime=2000.0, FlipAngle=77.0)
        made.MREchoSequence = base.item(EffectiveEchoTime=30.0)
    elif modality == "CT":
        made.CTImageFrameTypeSequence = kind
        made.PixelValueTransformationSequence = base.item(
            RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU"
        )
    else:
        made.PETFrameTypeSequence = kind
    return made


def _frame(
    modality: str, grid: base.Grid, stack: int, volume: int, slice_: int, times: int, diffusing: bool
) -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.PlanePositionSequence = base.item(ImagePositionPatient=[f"{v:.8g}" for v in grid.at(slice_)])
    made.PlaneOrientationSequence = base.item(ImageOrientationPatient=[f"{v:.10f}" for v in grid.orientation])
    index = [stack + 1, slice_ + 1]
    where = base.fields(
        StackID=str(stack + 1),
        InStackPositionNumber=slice_ + 1,
        FrameAcquisitionDateTime=f"202603141017{2 * volume:02}.000000",
        FrameReferenceDateTime=f"202603141017{2 * volume:02}.000000",
        FrameAcquisitionDuration=1000.0,
    )
    if diffusing or times > 1:
        index.append(volume + 1)
    if times > 1:
        where.TemporalPositionIndex = volume + 1
    where.DimensionIndexValues = index
    made.FrameContentSequence = sequence.Sequence([where])
    if diffusing:
        b, direction = series_mr.DIFFUSION[volume]
        one = base.fields(DiffusionBValue=b, DiffusionDirectionality="DIRECTIONAL" if b else "NONE")
        if b:
            one.DiffusionGradientDirectionSequence = base.item(DiffusionGradientOrientation=list(direction))
        made.MRDiffusionSequence = sequence.Sequence([one])
    if modality == "PT":
        made.PixelValueTransformationSequence = base.item(
            RescaleSlope=str(0.5 + 0.25 * slice_), RescaleIntercept="0", RescaleType="US"
        )
    elif modality == "MR":
        made.PixelValueTransformationSequence = base.item(
            RescaleSlope="1", RescaleIntercept="0", RescaleType="US"
        )
    return made
