"""Fine-tuning on one fact: FT, FT+L and AttnEdit (Appendix D)."""
