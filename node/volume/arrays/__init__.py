"""Arrays that know where they lie: numpy's slicing, arithmetic and functions keep axes and geometry."""
