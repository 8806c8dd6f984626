"""Section 5.2: Table 2, and Section 5.3 and Appendix E: knowing and saying; read from finished runs.

The bounds were set from the paper's numbers, before the runs. A claim of several parts is measured by the smallest
of their margins, in points of Table 2, so that it holds only where every part does:

- F1, "does not generalise", is PS below 80, and F2, "bleeds over", is NS more than 10 points below the unedited
  model, as in `knowedit table`;
- "about half of ROME's PS" is at most three quarters of it;
- "teaches the statement" is ES of at least 80;
- "GE within a point or so" is finer than 200 records can tell. The bound is 5 %: ROME changes GE by 0.2 % in the
  paper, and the least of the editors that lose fluency (KE) by 6 %. "Collapse" is a loss of at least 10 %, where
  those of the paper lose 38 %;
- "raises RS" is by at least a tenth: ROME raises it by 29 % in the paper, KN lowers it by 5 %.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from claims import table2_measures as measures
from claims.registry import Claim, Expectation, Section
from claims.run_evidence import Evidence, gather
from knowedit.evaluation.runs.tables import UNEDITED

NOT_EDITED = "the unedited model in place of ROME"
TABLE2: Final = (UNEDITED, measures.ROME, *measures.BASELINES)
KNOWING: Final = (UNEDITED, measures.ROME, measures.ATTN)

CLAIMS: tuple[Claim[Evidence], ...] = (
    Claim(
        id="table2.rome-avoids-both",
        place="Table 2",
        statement="ROME generalises and does not bleed over; FT and FT+L fail in one of the two at least.",
        quantity="ROME's distance from the nearer failure, or the failure of the better baseline if that is smaller",
        unit="points",
        paper="6.0 (GPT-2 XL), 6.4 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control=NOT_EDITED,
        measure=measures.avoids_both,
    ),
    Claim(
        id="table2.ft-f2",
        place="Table 2",
        statement="FT generalises and bleeds over (F2).",
        quantity="PS above the bound of F1, or the loss of NS above that of F2 if that is smaller",
        unit="points",
        paper="7.9 (GPT-2 XL), 16.6 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control="ROME in place of FT",
        measure=measures.ft_bleeds,
    ),
    Claim(
        id="table2.ftl-f1",
        place="Table 2",
        statement="FT+L is specific and does not generalise (F1): its PS is far below ROME's.",
        quantity="the smallest of: NS above the bound of F2, PS below that of F1, PS below three quarters of ROME's",
        unit="points",
        paper="2.2 (GPT-2 XL), 5.6 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control="ROME in place of FT+L",
        measure=measures.ftl_does_not_generalise,
    ),
    Claim(
        id="table2.fluency",
        place="Table 2, GE",
        statement="ROME hardly changes the fluency of generated text.",
        quantity="change of GE, in either direction, as a share of the unedited model's",
        unit="%",
        paper="0.2 (GPT-2 XL), 0.0 (GPT-J)",
        expectation=Expectation("at most", measures.FLUENT),
        control="text that repeats the new object",
        measure=measures.fluency,
    ),
    Claim(
        id="table2.consistency",
        place="Table 2, RS",
        statement="Text that ROME's models write is the most consistent with the new fact.",
        quantity="ROME's RS above the best of the unedited model, FT and FT+L",
        unit="points",
        paper="0.5 (GPT-2 XL), 6.1 (GPT-J)",
        expectation=Expectation("at least", 0.0),
        control=NOT_EDITED,
        measure=measures.consistency,
    ),
    Claim(
        id="table2.essence",
        place="Table 2, Essence",
        statement="The essence of the subject drifts less under ROME than under FT, and least under FT+L.",
        quantity="the smaller step of the drifts of FT+L, ROME and FT in this order, in shares of the perplexity",
        unit="%",
        paper="7.0 (GPT-2 XL); on GPT-J ROME drifts most",
        expectation=Expectation("at least", 0.0),
        control="the unedited model in place of FT",
        measure=measures.essence,
    ),
    Claim(
        id="table2.gpt-j",
        place="Table 2, GPT-J",
        statement="On GPT-J: " + "; ".join(measures.STATEMENTS) + ".",
        quantity="how many of these statements hold",
        unit="",
        paper=f"{len(measures.STATEMENTS)}",
        expectation=Expectation("at least", len(measures.STATEMENTS)),
        control=NOT_EDITED,
        measure=measures.gpt_j,
        digits=".0f",
    ),
)

SAYING: tuple[Claim[Evidence], ...] = (
    Claim(
        id="knowing.both-recite",
        place="Section 5.3",
        statement="Both ROME and AttnEdit teach the model the statement; AttnEdit fails more often.",
        quantity="the smallest of: ROME's ES above 80, AttnEdit's ES above 80, ROME's above AttnEdit's",
        unit="points",
        paper="> 0 (no numbers)",
        expectation=Expectation("at least", 0.1),
        control="the unedited model in place of both",
        measure=measures.both_recite,
    ),
    Claim(
        id="knowing.both-specific",
        place="Section 5.3",
        statement="Neither ROME nor AttnEdit bleeds over to other subjects.",
        quantity="change of NS, the worse of the two",
        unit="points",
        paper="hardly (ROME in Table 2: −4.0)",
        expectation=Expectation("at least", -10.0),
        control="the request itself in place of the neighbourhood prompts",
        measure=measures.both_specific,
    ),
    Claim(
        id="knowing.attention-does-not-generalise",
        place="Section 5.3, Appendix E",
        statement="What AttnEdit teaches does not generalise to paraphrases; what ROME teaches does.",
        quantity="ROME's PS above the bound of F1, or AttnEdit's below it if that is smaller",
        unit="points",
        paper="8.6 (AttnEdit: about 50 %)",
        expectation=Expectation("at least", 0.0),
        control="ROME in place of AttnEdit",
        measure=measures.attention_does_not_generalise,
    ),
    Claim(
        id="knowing.consistency",
        place="Section 5.3",
        statement="Only ROME makes generated text more consistent with the new fact, and it keeps the fluency.",
        quantity="the smallest of: ROME's raise of RS above 10 %, AttnEdit's below it, ROME's change of GE below 5 %",
        unit="%",
        paper="4.8 (GPT-2 XL; AttnEdit: no numbers)",
        expectation=Expectation("at least", 0.0),
        control=NOT_EDITED,
        measure=measures.only_rome_is_consistent,
    ),
)

ABOUT = (
    "Read from finished runs, of which a sample was measured again just now; see the claims' notes for their digests "
    "and `docs/claims.md` for how they are made. Test records in the order of the file, each edited alone. Intervals: "
    "percentile bootstrap over records, the same resamples for all methods."
)

SECTION = Section(
    name="table2",
    title="Section 5.2: editors compared (Table 2)",
    about=ABOUT,
    claims=CLAIMS,
    on_model=partial(gather, TABLE2),
)
SAYING_SECTION = Section(
    name="knowing",
    title="Section 5.3 and Appendix E: knowing and saying",
    about=ABOUT,
    claims=SAYING,
    on_model=partial(gather, KNOWING),
)
