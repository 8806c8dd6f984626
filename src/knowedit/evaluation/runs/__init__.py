"""Many records: evaluations, sweeps, evidence and tables."""
