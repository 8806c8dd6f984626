"""The forms that records come in: one file each, and the table of all of them."""
