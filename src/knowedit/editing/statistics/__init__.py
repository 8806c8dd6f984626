"""Key statistics: the second moment C of a projection's inputs over text."""
