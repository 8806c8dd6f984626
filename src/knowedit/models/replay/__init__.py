"""Record one forward pass, replay any part of it, and read only the tokens from the first changed one on."""
