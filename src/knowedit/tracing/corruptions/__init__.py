"""What is done to the subject in a corrupted run, and how much of it."""
