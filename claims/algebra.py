"""Section 4 and Appendix A: the closed form of the insertion.

Everything is checked with plain NumPy as the paper writes it, apart from `knowedit.linalg`, whose
`insert_key_value` is what is being checked. Every residual is relative. A claim counts the worst of all
problems, its control the best of all: the control has to fail everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from claims.insertions import (
    Insertion,
    competitors,
    identity,
    inserted,
    no_divisor,
    not_inverted,
    product,
    wrong_sign,
)
from claims.models import OpenModel
from claims.problems import (
    CONDITIONS,
    KEYS_OF_A_MODEL,
    SIZES,
    Matrix,
    Problem,
    model_problems,
    random_problems,
)
from claims.registry import MATRICES, Claim, Expectation, Measured, Progress, Section, exactly
from claims.settings import Settings

BOUND = 1e-6
"""Rounding (2e-16) times a condition number of 1e7 stays below; the wrong formulas are above 1e-3."""
SCALES = (1e-6, 1e-2, 1e2, 1e6)

Residual = Callable[[Problem, Insertion], float]


def infeasibility(problem: Problem, insert: Insertion) -> float:
    """‖Ŵk − v‖ / ‖v‖."""
    miss = inserted(problem, insert) @ problem.k - problem.v
    return float(np.linalg.norm(miss) / np.linalg.norm(problem.v))


def non_stationarity(problem: Problem, insert: Insertion) -> float:
    """‖ŴKKᵀ − VKᵀ − Λkᵀ‖ / ‖Λkᵀ‖ (Eqn. 17)."""
    multiplier, direction = insert(problem.W, problem.k, problem.v, problem.C)
    W_hat = problem.W + np.outer(multiplier, direction)
    explained = np.outer(multiplier, problem.k)
    gradient = (W_hat @ problem.K - problem.V) @ problem.K.T
    return float(np.linalg.norm(gradient - explained) / np.linalg.norm(explained))


def excess_over_competitors(problem: Problem, insert: Insertion) -> float:
    """The largest |‖YK − V‖² − ‖ŴK − V‖² − ‖(Y − Ŵ)K‖²| / ‖YK − V‖² over feasible Y.

    If it is zero, every feasible Y costs more than Ŵ by a square that vanishes at Ŵ alone: Ŵ is the only
    minimiser. One of the Y is the minimiser found by least squares over the feasible matrices.
    """
    W_hat = inserted(problem, insert)
    return max(
        abs(_cost(Y, problem) - _cost(W_hat, problem) - _squared((Y - W_hat) @ problem.K)) / _cost(Y, problem)
        for Y in competitors(problem, W_hat)
    )


def change_not_least(problem: Problem, insert: Insertion) -> float:
    """`excess_over_competitors` of the change itself, ‖(Ŵ − W)K‖, for a W that fits no pairs."""
    anything = problem.W + np.random.default_rng(1).standard_normal(problem.W.shape)
    return excess_over_competitors(
        Problem(anything, problem.K, anything @ problem.K, problem.k, problem.v), insert
    )


def second_singular_value(problem: Problem, insert: Insertion) -> float:
    """σ₂ / σ₁ of Ŵ − W."""
    return _second_share(inserted(problem, insert) - problem.W)


def of_a_competitor(problem: Problem, insert: Insertion) -> float:
    """The control of rank one: σ₂ / σ₁ of Y − W for a feasible Y drawn at random."""
    return _second_share(competitors(problem, inserted(problem, insert))[-1] - problem.W)


def _second_share(change: Matrix) -> float:
    values = np.linalg.svd(change, compute_uv=False)
    return float(values[1] / values[0])


def block_difference(problem: Problem, insert: Insertion) -> float:
    """‖Λ − Λ_block‖ / ‖Λ_block‖, with Λ_block the last column of the solution of Eqn. 22's system."""
    C, k = problem.C, problem.k[:, None]
    system = np.block([[C, k], [-k.T, np.zeros((1, 1))]])
    right = np.column_stack([problem.V @ problem.K.T, problem.v])
    expected = np.linalg.solve(system.T, right.T).T[:, -1]
    found = insert(problem.W, problem.k, problem.v, C)[0]
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def scale_dependence(problem: Problem, insert: Insertion) -> float:
    """The largest ‖Δ(cC) − Δ(C)‖ / ‖Δ(C)‖ over several c."""
    given = problem.W, problem.k, problem.v
    change = np.outer(*insert(*given, problem.C))
    scaled = [np.outer(*insert(*given, c * problem.C)) for c in SCALES]
    return max(float(np.linalg.norm(other - change) / np.linalg.norm(change)) for other in scaled)


def _cost(X: Matrix, problem: Problem) -> float:
    return _squared(X @ problem.K - problem.V)


def _squared(A: Matrix) -> float:
    return float(np.vdot(A, A))


def worst_and_best(
    residual: Residual, insert: Insertion, problems: Sequence[Problem], *, control: Residual | None = None
) -> Measured:
    """The worst residual of the product, and the best that the control reaches."""
    worst = max(residual(problem, product) for problem in problems)
    best = min((control or residual)(problem, insert) for problem in problems)
    return Measured(exactly(worst, len(problems)), exactly(best, len(problems)))


def _claim(
    name: str,
    place: str,
    statement: str,
    quantity: str,
    control: str,
    measure: Callable[[Sequence[Problem]], Measured],
    *,
    theorems: tuple[str, ...],
    on_models: bool = True,
) -> Claim[Sequence[Problem]]:
    return Claim(
        id=f"algebra.{name}",
        place=place,
        statement=statement,
        quantity=f"worst {quantity}",
        unit="",
        paper="0",
        expectation=Expectation("at most", BOUND),
        control=control,
        measure=measure,
        digits=".1e",
        on_models=on_models,
        theorems=theorems,
    )


def _on_model(model: OpenModel, settings: Settings, progress: Progress) -> Sequence[Problem]:  # noqa: ARG001
    return model_problems(model, settings)


CLAIMS = (
    _claim(
        "feasible",
        "Eqn. 13",
        "The edited matrix returns the inserted value for the inserted key: Ŵk* = v*.",
        "‖Ŵk − v‖ / ‖v‖",
        "the update with the wrong sign",
        partial(worst_and_best, infeasibility, wrong_sign),
        theorems=(
            "moment.v: divisor_is_norm",
            "moment.v: divisor_gt0",
            "insertion.v: eqn13_feasible",
            "batch.v: gram_unit_iff",
            "batch.v: gram_positive",
            "batch.v: many_feasible",
            "batch.v: many_of_one",
            "sequence.v: drift",
            "sequence.v: first_kept_iff",
            "sequence.v: sequence_is_joint_iff",
            "hypotheses.v: zero_key",
            "hypotheses.v: singular_divisor",
            "hypotheses.v: dependent_keys",
            "hypotheses.v: order_needed",
            "hypotheses.v: first_lost",
            "hypotheses.v: wrong_sign",
            "hypotheses.v: no_divisor",
        ),
    ),
    _claim(
        "stationary",
        "Eqn. 17",
        "The gradient of the fit is explained by the constraint: ŴKKᵀ = VKᵀ + Λk*ᵀ.",
        "‖ŴKKᵀ − VKᵀ − Λkᵀ‖ / ‖Λkᵀ‖",
        "C in place of C⁻¹",
        partial(worst_and_best, non_stationarity, not_inverted),
        theorems=(
            "objective.v: eqn16_derivative",
            "insertion.v: eqn18_change",
            "insertion.v: eqn17_stationary",
            "insertion.v: eqn17_only_solution",
            "insertion.v: eqn4_iff_eqn17",
            "batch.v: many_change",
            "batch.v: many_stationary",
            "batch.v: many_only_solution",
        ),
    ),
    _claim(
        "optimal",
        "Eqn. 4",
        "No feasible matrix fits the old pairs better than Ŵ, if W was their least-squares solution; "
        "and Ŵ is the only minimiser.",
        "|‖YK−V‖² − ‖ŴK−V‖² − ‖(Y−Ŵ)K‖²| / ‖YK−V‖² over feasible Y",
        "C in place of C⁻¹",
        partial(worst_and_best, excess_over_competitors, not_inverted),
        on_models=False,  # a trained W need not be the least-squares solution of anything
        theorems=(
            "objective.v: pythagoras",
            "objective.v: stationary_optimal",
            "objective.v: stationary_unique",
            "objective.v: normal_equations",
            "insertion.v: eqn4_optimal",
            "insertion.v: eqn4_unique",
            "insertion.v: loss_increase",
            "insertion.v: eqn4_optimal_iff",
            "batch.v: many_optimal",
            "batch.v: many_unique",
            "batch.v: many_loss_increase",
            "hypotheses.v: not_least_squares",
            "hypotheses.v: not_least_squares_increase",
            "hypotheses.v: any_direction",
            "hypotheses.v: singular_optimal",
            "hypotheses.v: singular_unique",
        ),
    ),
    _claim(
        "rank-one",
        "Eqn. 5",
        "The update has rank one.",
        "second singular value of Ŵ − W over the first",
        "a feasible matrix drawn at random",
        partial(worst_and_best, second_singular_value, product, control=of_a_competitor),
        theorems=("insertion.v: eqn5_rank",),
    ),
    _claim(
        "block-system",
        "Eqn. 22",
        "The last column of the block system's solution is Λ.",
        "‖Λ − Λ_block‖ / ‖Λ_block‖",
        "Λ without the divisor k*ᵀC⁻¹k*",
        partial(worst_and_best, block_difference, no_divisor),
        theorems=(
            "block_system.v: eqn20_block_system",
            "block_system.v: eqn22_inverse",
            "block_system.v: eqn21_block_system",
            "block_system.v: eqn22_last_column",
            "block_system.v: eqn21_one_key",
        ),
    ),
    _claim(
        "least-change",
        "ours (Eqn. 4)",
        "Whatever W is, Ŵ alone changes the least of what the old keys return, among feasible matrices.",
        "the same with V = WK, W arbitrary",
        "the identity in place of C",
        partial(worst_and_best, change_not_least, identity),
        theorems=(
            "insertion.v: least_change",
            "batch.v: many_least_change",
        ),
    ),
    _claim(
        "scale-free",
        "ours (Eqn. 5)",
        "The scale of C does not matter: its sum and its mean over keys give one update.",
        "‖Δ(cC) − Δ(C)‖ / ‖Δ(C)‖, c from 1e-6 to 1e6",
        "the update without the divisor k*ᵀC⁻¹k*",
        partial(worst_and_best, scale_dependence, no_divisor),
        theorems=(
            "insertion.v: scale_free",
            "batch.v: many_recombined",
            "batch.v: change_of_basis",
            "hypotheses.v: zero_scale",
        ),
    ),
)

SECTION = Section(
    name="algebra",
    title="Section 4 and Appendix A: the insertion in closed form",
    about="Residuals of `knowedit.linalg.insert_key_value` in float64, relative, checked with plain NumPy: the "
    f"worst of {len(SIZES) * len(CONDITIONS)} random problems of several sizes and conditions, and of "
    f"{KEYS_OF_A_MODEL} keys on each model's own W and C. The control's number is its best. "
    "PROVED: Coq accepted the theorem in this run; it is about exact numbers, not about the code.",
    claims=CLAIMS,
    on_model=_on_model,
    without_model={MATRICES: random_problems},
    proved=True,
)
