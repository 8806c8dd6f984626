"""An edit as a value: its data and file, applying it, combining, provenance and export."""
