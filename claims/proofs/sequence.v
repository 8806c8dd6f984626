(* Two insertions, one after the other, with the same C. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Rome Require Import norm moment objective insertion batch.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Sequence.
Variable R : realFieldType.
Variables (m n N : nat) (K : 'M[R]_(n, N)) (W : 'M[R]_(m, n)).
Variables (k1 k2 : 'cV[R]_n) (v1 v2 : 'cV[R]_m).
Let C : 'M[R]_n := K *m K^T.
Let W1 := inserted C W k1 v1.
Let W2 := inserted C W1 k2 v2.

(* k2^T C^-1 k1 *)
Definition overlap : R := (k2^T *m invmx C *m k1) 0 0.

Hypothesis C_unit : C \in unitmx.

(* What the second insertion does to the value of the first key. *)
Theorem drift : k1 != 0 -> W2 *m k1 = v1 + (overlap / divisor C k2) *: (v2 - W1 *m k2).
Proof. by move=> k1_0; rewrite value_elsewhere eqn13_feasible // /multiplier scalerA. Qed.

(* It vanishes if W1 had the second pair already, or the keys are orthogonal in C^-1. *)
Theorem first_kept_iff : k1 != 0 -> W2 *m k1 = v1 <-> v2 = W1 *m k2 \/ overlap = 0.
Proof.
move=> k1_0; rewrite drift //; split=> [/eqP|]; last first.
  by case=> ->; rewrite ?subrr ?scaler0 ?mul0r ?scale0r addr0.
rewrite -subr_eq0 addrC addKr scaler_eq0 mulf_eq0 invr_eq0 subr_eq0.
case/orP=> [/orP [/eqP-> | /eqP/(divisor_eq0 C_unit) k2_0] | /eqP->]; [by right | | by left].
by right; rewrite /overlap k2_0 trmx0 !mul0mx mxE.
Qed.

(* The two insertions are the joint one exactly if the first value has stayed. *)
Theorem sequence_is_joint_iff : \rank (row_mx k1 k2) = 2%N ->
  W2 = inserted_many C W (row_mx k1 k2) (row_mx v1 v2) <-> W2 *m k1 = v1.
Proof.
move=> independent; split=> [->|kept].
  by have := many_feasible W (row_mx v1 v2) C_unit independent; rewrite mul_mx_row => /eq_row_mx [].
have feas : W2 *m row_mx k1 k2 = row_mx v1 v2.
  rewrite mul_mx_row kept eqn13_feasible //; apply/eqP => k2_0.
  have := proj1 (rank_full_iff _) independent (col_mx 0 1%:M).
  rewrite mul_row_col mulmx0 k2_0 mul0mx addr0 => /(_ erefl)/(congr1 dsubmx).
  by rewrite col_mxKd linear0 => /eqP; rewrite oner_eq0.
have normal : W *m C = W *m K *m K^T by rewrite mulmxA.
apply: (many_unique C_unit independent normal feas).
pose L := row_mx (multiplier C W k1 v1) (multiplier C W1 k2 v2).
apply: (@stationary_optimal _ _ _ _ _ _ (W *m K) _ (row_mx v1 v2) _ L); [|exact: feas|exact: many_feasible].
rewrite /stationary tr_row_mx mul_row_col -!eqn18_change // -normal -!mulmxDl.
by congr (_ *m _); rewrite addrA [W + _]addrC subrK addrC subrK.
Qed.

End Sequence.
