"""Section 3 and Appendix B: where causal tracing finds a fact.

Every effect is a share of the total effect, clean minus corrupted probability, because small models that know all
their facts lose more by corruption than GPT-2 XL does. The paper's numbers are turned into such shares: with
27.0 % clean and 8.47 % corrupted, 15.0 % restored is 35 % of the total effect. The bounds follow from the
paper's statements:

- "best at" means above every other token: at least 0 after the best other token is taken off;
- "decisive" and "leaves a site" mean clearly above: at least `CLEAR`;
- "systematic" means at least half of the paper's share;
- "negligible" means at most `NEGLIGIBLE`.

Depth is relative too: an early site is one before the last quarter of the layers.
"""

from __future__ import annotations

from claims import tracing_measures as measures
from claims.registry import Claim, Expectation, Section
from claims.tracing_evidence import gather
from claims.tracing_measures import Evidence

CLEAR = 5.0
"""Per cent of the total effect."""
NEGLIGIBLE = 10.0
"""Per cent of the total effect."""
HALF = 17.6
"""Half of (15.0 - 8.47) / (27.0 - 8.47), in per cent."""

BEFORE = "the token before the subject in place of the last subject token"

CLAIMS: tuple[Claim[Evidence], ...] = (
    Claim(
        id="trace.corruption",
        place="Section 3",
        statement="Corrupting the subject lowers the probability of the correct object to under a third.",
        quantity="mean corrupted over mean clean probability",
        unit="%",
        paper="31 (27.0 to 8.47)",
        expectation=Expectation("at most", 33.3),
        control="the same noise on the token before the subject",
        measure=measures.corruption,
    ),
    Claim(
        id="trace.two-sites",
        place="Figures 1, 3e, 3j",
        statement="Single states are decisive at two sites: early at the last subject token, late at the last token.",
        quantity="share of the total effect that the weaker site restores, minus the best of all other tokens",
        unit="%",
        paper="not given (early site: 35)",
        expectation=Expectation("at least", CLEAR),
        control=BEFORE,
        measure=measures.two_sites,
    ),
    Claim(
        id="trace.last-state-restores",
        place="Figure 1",
        statement="The last layer's state at the last token restores the prediction fully.",
        quantity="share of the total effect restored, of facts with answers of one token",
        unit="%",
        paper="100",
        expectation=Expectation("at least", 99.9),
        control="the last layer's state at the last subject token",
        measure=measures.last_state,
    ),
    Claim(
        id="trace.early-site-systematic",
        place="Figure 3j",
        statement="The early site is systematic: one layer's state at the last subject token restores much on average.",
        quantity="share of the total effect that the best early layer restores",
        unit="%",
        paper="35 (15.0 at layer 15 of 48)",
        expectation=Expectation("at least", HALF),
        control=BEFORE,
        measure=measures.early_site,
    ),
    Claim(
        id="trace.mlp-at-early-site",
        place="Figures 3f, 3k",
        statement="Windows of MLP outputs restore most at the last subject token.",
        quantity="share of the total effect, best window at the last subject token minus the best at all other tokens",
        unit="%",
        paper="> 0 (best: 35, centre 17 of 48)",
        expectation=Expectation("at least", 0.0),
        control=BEFORE,
        measure=measures.mlp_site,
    ),
    Claim(
        id="trace.attention-at-late-site",
        place="Figures 3g, 3m",
        statement="Windows of attention outputs restore most at the last token.",
        quantity="share of the total effect, best window at the last token minus the best at all other tokens",
        unit="%",
        paper="> 0 (best: 43, centre 32 of 48)",
        expectation=Expectation("at least", 0.0),
        control="the token before the subject in place of the last token",
        measure=measures.attention_site,
    ),
    Claim(
        id="trace.single-module-negligible",
        place="Appendix B",
        statement="Restoring one single MLP or attention output does little.",
        quantity="share of the total effect restored by the best single module anywhere",
        unit="%",
        paper="generally negligible",
        expectation=Expectation("at most", NEGLIGIBLE),
        control="windows of modules",
        measure=measures.single_modules,
    ),
    Claim(
        id="trace.mlp-mediation",
        place="Figure 4",
        statement="Without the MLPs low layers' states lose their effect and high layers' states keep it.",
        quantity="share of the last subject token's effect kept in the third quarter of the layers minus in the first",
        unit="points",
        paper="not given",
        expectation=Expectation("at least", 50.0),
        control="the last token's states, where nothing is severed",
        measure=measures.mediation,
    ),
    Claim(
        id="trace.substitution",
        place="Figures 1, 3h, 3i",
        statement="The two sites are the same when another subject is substituted instead of noise.",
        quantity="as for trace.two-sites",
        unit="%",
        paper="not given",
        expectation=Expectation("at least", CLEAR),
        control=BEFORE,
        measure=measures.substitution,
    ),
    Claim(
        id="trace.gpt-j",
        place="Figure 9",
        statement="In GPT-J the attention of the first layers at the last subject token matters too.",
        quantity="share of the total effect of the best attention window in the first quarter of the layers there",
        unit="%",
        paper="not given",
        expectation=Expectation("at least", CLEAR),
        control="the last quarter of the layers",
        measure=measures.first_attention,
    ),
    Claim(
        id="trace.exceptions",
        place="Figures 11, 12 f-j",
        statement="The last subject token is not always the decisive one.",
        quantity="share of facts in which an earlier state of another token but the last restores clearly more",
        unit="%",
        paper="> 0 (examples)",
        expectation=Expectation("at least", 5.0),
        control="tokens before the subject",
        measure=measures.exceptions,
    ),
    Claim(
        id="trace.after-edit",
        place="Figure 7 d",
        statement="A fact that ROME put there has an early site at the last subject token.",
        quantity="share of the total effect of the best early layer there, minus the best of all tokens but the last",
        unit="%",
        paper="not given",
        expectation=Expectation("at least", CLEAR),
        control=BEFORE,
        measure=measures.after_edit,
    ),
    Claim(
        id="trace.after-attention-edit",
        place="Figure 7 e",
        statement="A fact that AttnEdit put there has no early site.",
        quantity="as for trace.after-edit",
        unit="%",
        paper="not given",
        expectation=Expectation("at most", CLEAR),
        control="a fact that ROME put there",
        measure=measures.after_attention_edit,
    ),
)

SECTION = Section(
    name="trace",
    title="Section 3: causal tracing",
    about="Facts that the model knows, drawn by the seed from its test records; noise of three standard deviations of "
    "the subject's embeddings, the same in every kind of trace; windows of the paper's ten of 48 layers, in "
    "proportion. Effects are shares of the total effect, clean minus corrupted probability, in per cent. Intervals: "
    "percentile bootstrap over facts, in which the best layer is chosen anew in each resample; Wilson for a share "
    "of facts.",
    claims=CLAIMS,
    on_model=gather,
)
