"""What both panels share: engine processes, models, scene and files. Imports nothing by itself."""
