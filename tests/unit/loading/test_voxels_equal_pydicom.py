"""Every kind of pixels among pydicom's files, read by both."""

from __future__ import annotations

import warnings

import numpy as np
import pydicom
import pydicom.pixels
import pytest
from pydicom.data import get_testdata_file

from node.loading import voxels
from tests import stacks

FILES = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "693_J2KI.dcm",
    "JPEG2000.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "ExplVR_BigEnd.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_rle_32bit.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_jpeg2k.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "liver_expb_1frame.dcm",
    "rtdose.dcm",
    "rtdose_expb.dcm",
    "rtdose_rle.dcm",
)


@pytest.mark.parametrize("name", FILES)
def test_the_voxels_are_those_that_pydicom_reads(name: str) -> None:
    path = get_testdata_file(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's files are odd on purpose, and it says so
        ds = pydicom.dcmread(path)
        theirs = ds.pixel_array
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        theirs = (pydicom.pixels.apply_color_lut(theirs, ds) >> 8).astype(np.uint8)
    count = int(ds.get("NumberOfFrames", 1) or 1)
    made = voxels.image(stacks.of([stacks.source(path)], [(0, at, 0) for at in range(count)]))
    ours = made.voxels()
    assert ours.shape == made.shape
    assert ours.dtype == made.dtype == theirs.dtype.newbyteorder("<")
    assert np.array_equal(ours, theirs.reshape(ours.shape))
