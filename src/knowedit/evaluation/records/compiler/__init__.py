"""Build COUNTERFACT records from facts and templates (Appendix C.1)."""

from knowedit.evaluation.records.compiler.compilation import Compiled, compile_records
from knowedit.evaluation.records.compiler.sources import read_facts, read_templates

__all__ = ["Compiled", "compile_records", "read_facts", "read_templates"]
