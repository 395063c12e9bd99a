"""Files become frames and voxels: headers read side by side, pixels mapped, copied or decoded."""
