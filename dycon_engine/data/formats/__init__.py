"""Scans and label maps as files: one module per format, verified before a voxel is believed."""
