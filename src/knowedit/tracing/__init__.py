"""Find where a model keeps a fact: corruption, restoration, windows, severing, and the trace as a file."""

from knowedit.tracing.averages import AverageTrace, average
from knowedit.tracing.causal import UnpredictedAnswer, causal_trace
from knowedit.tracing.corruptions.kinds import (
    Corruption,
    FixedNoise,
    GaussianNoise,
    RelativeNoise,
    Substitution,
)
from knowedit.tracing.known import KnownFact, load_known_facts, recall_facts, save_known_facts
from knowedit.tracing.prompts import Role
from knowedit.tracing.settings import Part, Severed, TraceSettings, Window
from knowedit.tracing.summary import FactSummary
from knowedit.tracing.trace import Trace, TraceProvenance
from knowedit.tracing.trace_run import TraceRun

__all__ = [
    "AverageTrace",
    "Corruption",
    "FactSummary",
    "FixedNoise",
    "GaussianNoise",
    "KnownFact",
    "Part",
    "RelativeNoise",
    "Role",
    "Severed",
    "Substitution",
    "Trace",
    "TraceProvenance",
    "TraceRun",
    "TraceSettings",
    "UnpredictedAnswer",
    "Window",
    "average",
    "causal_trace",
    "load_known_facts",
    "recall_facts",
    "save_known_facts",
]
