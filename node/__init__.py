"""A DICOM network node: takes what modalities send, keeps it, finds it, processes it and sends it on."""
