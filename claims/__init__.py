"""Executable specifications of the paper's claims: ``python -m claims --help``.

A claim says what is measured, in which unit, what the paper found, which bound the measurement must keep,
and which control must break that bound. What each model was found to do is on record in ``record.json``.
"""
