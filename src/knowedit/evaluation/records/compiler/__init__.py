"""Build COUNTERFACT records from facts and templates (Appendix C.1)."""

from knowedit.evaluation.records.compiler.compilation import Compiled, CompilerSettings, compile_records
from knowedit.evaluation.records.compiler.sources import read_facts, read_templates
from knowedit.evaluation.records.compiler.table import FactTable, Skipped
from knowedit.evaluation.records.compiler.targets import draw_target
from knowedit.evaluation.records.compiler.templates import cut_template, usable_templates

__all__ = [
    "Compiled",
    "CompilerSettings",
    "FactTable",
    "Skipped",
    "compile_records",
    "cut_template",
    "draw_target",
    "read_facts",
    "read_templates",
    "usable_templates",
]
