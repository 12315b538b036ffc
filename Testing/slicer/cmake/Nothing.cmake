# Slicer writes the configuration of the extension's build tree here.
