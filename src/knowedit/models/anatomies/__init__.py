"""Where models keep their parts: what an anatomy is, its laws, those that are known, how others are found."""
