"""Stand-ins for the Slicer application around Slicer's own libraries; never shipped."""
