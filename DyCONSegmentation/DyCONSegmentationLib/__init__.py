"""The parts of the DyCONSegmentation module."""
