(* One pair: the insertion of Eqn. 5 and all that Section 4 and Appendix A say about it.
   The paper's names: W the weight, k the new key k*, v its value v*, C = K K^T. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Rome Require Import norm moment objective.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Insertion.
Variable R : realFieldType.

(* Lambda = (v - W k) / (k^T C^-1 k); the paper writes v for it in Eqn. 5. *)
Definition multiplier m n (C : 'M[R]_n) (W : 'M[R]_(m, n)) k v : 'cV[R]_m :=
  (divisor C k)^-1 *: (v - W *m k).

(* Eqn. 5 and 19: What = W + Lambda (C^-1 k)^T. *)
Definition inserted m n (C : 'M[R]_n) (W : 'M[R]_(m, n)) k v : 'M[R]_(m, n) :=
  W + multiplier C W k v *m (invmx C *m k)^T.

Lemma inserted_change m n (C : 'M[R]_n) (W : 'M[R]_(m, n)) k v :
  inserted C W k v - W = multiplier C W k v *m (invmx C *m k)^T.
Proof. by rewrite /inserted addrC addKr. Qed.

Section OnePair.
Variables (m n N : nat) (K : 'M[R]_(n, N)) (V : 'M[R]_(m, N)).
Variables (W : 'M[R]_(m, n)) (k : 'cV[R]_n) (v : 'cV[R]_m).
Implicit Types X Y : 'M[R]_(m, n).
Let C : 'M[R]_n := K *m K^T.
Let Lambda := multiplier C W k v.
Let What := inserted C W k v.

Hypothesis C_unit : C \in unitmx.

(* The value of any other key moves along Lambda. *)
Lemma value_elsewhere x : What *m x = W *m x + (k^T *m invmx C *m x) 0 0 *: Lambda.
Proof.
rewrite /What /inserted mulmxDl -mulmxA transposed_direction -/Lambda.
by rewrite [X in Lambda *m X]mx11_scalar mul_mx_scalar.
Qed.

Theorem eqn13_feasible : k != 0 -> What *m k = v.
Proof.
move=> k0; rewrite value_elsewhere -/(divisor C k) /Lambda /multiplier scalerA.
by rewrite mulfV ?scale1r ?lt0r_neq0 ?divisor_gt0 // addrC subrK.
Qed.

(* A zero key can be mapped to zero alone, and then What = W does it: the theorems about the
   minimum do not need k != 0. *)
Lemma feasible_if_possible X : X *m k = v -> What *m k = v.
Proof.
have [k0|k0 _] := eqVneq k 0; last exact: eqn13_feasible.
by rewrite k0 !mulmx0.
Qed.

(* Rank one, or zero if W maps k to v already. *)
Theorem eqn5_rank : k != 0 -> \rank (What - W)%R = (v != W *m k).
Proof.
move=> k0; have [vWk|vWk] := eqVneq v (W *m k).
  by rewrite inserted_change /multiplier vWk subrr scaler0 mul0mx mxrank0.
apply/eqP; rewrite eqn_leq lt0n mxrank_eq0 {1}inserted_change.
rewrite (leq_trans (mxrankM_maxl _ _) (rank_leq_col _)).
apply: contra vWk => /eqP change0; rewrite -subr_eq0 -{1}(eqn13_feasible k0) -mulmxBl.
by rewrite change0 mul0mx.
Qed.

Theorem eqn18_change : (What - W) *m C = Lambda *m k^T.
Proof. by rewrite inserted_change -mulmxA transposed_direction mulmxKV. Qed.

(* From here on W is the least-squares solution of W K = V (`normal_equations`). *)
Section LeastSquares.
Hypothesis normal : W *m C = V *m K^T.

Theorem eqn17_stationary : stationary K V k What Lambda.
Proof. by rewrite /stationary -eqn18_change mulmxBl -normal addrC subrK. Qed.

Theorem eqn4_optimal X : X *m k = v -> loss K V What <= loss K V X.
Proof.
by move=> feasX; apply: stationary_optimal eqn17_stationary (feasible_if_possible feasX) _ feasX.
Qed.

Theorem eqn4_unique X : X *m k = v -> loss K V X <= loss K V What -> X = What.
Proof.
move=> feasX; exact: stationary_unique C_unit eqn17_stationary (feasible_if_possible feasX) _ feasX.
Qed.

(* Eqn. 13 and 17 together have one solution. *)
Theorem eqn17_only_solution X (L : 'cV[R]_m) : k != 0 ->
  stationary K V k X L /\ X *m k = v <-> X = What /\ L = Lambda.
Proof.
move=> k0; split=> [[statX feasX]|[-> ->]]; last first.
  by split; [exact: eqn17_stationary | exact: eqn13_feasible].
have XW : X = What.
  by apply: eqn4_unique => //; apply: (stationary_optimal statX feasX); exact: eqn13_feasible.
split=> //; move: statX; rewrite XW /stationary eqn17_stationary => /addrI.
move/(congr1 (fun M => M *m invmx C *m k)); rewrite -!mulmxA (mulmxA k^T).
rewrite (mx11_scalar (_ *m k)) -/(divisor C k) !mul_mx_scalar.
by move/(scalerI (lt0r_neq0 (divisor_gt0 C_unit k0))).
Qed.

(* What the insertion costs: loss What = loss W + |v - W k|^2 / (k^T C^-1 k). *)
Theorem loss_increase : k != 0 ->
  loss K V What = loss K V W + (divisor C k)^-1 * norm2 (v - W *m k).
Proof.
move=> k0; have none : stationary K V (0 : 'M_(n, 0)) W 0.
  by rewrite /stationary mul0mx addr0.
rewrite (pythagoras (Vs := 0) none) ?mulmx0 //; congr (_ + _).
rewrite norm2_trace trmx_mul mulmxA -[_ *m K *m K^T]mulmxA -/C eqn18_change.
rewrite -mulmxA -trmx_mul mulmxBl eqn13_feasible // /Lambda /multiplier.
by rewrite -scalemxAl linearZ /= -norm2_trace.
Qed.

End LeastSquares.
End OnePair.

Section AnyWeight.
Variables (m n N : nat) (K : 'M[R]_(n, N)) (k : 'cV[R]_n) (v : 'cV[R]_m).
Let C : 'M[R]_n := K *m K^T.
Hypothesis C_unit : C \in unitmx.

(* Whatever W is, it is the least-squares solution for the values V = W K that it has. So What
   alone changes the values of the old keys least. *)
Theorem least_change (W X : 'M[R]_(m, n)) : X *m k = v ->
  norm2 ((inserted C W k v - W) *m K) <= norm2 ((X - W) *m K) ?= iff (X == inserted C W k v).
Proof.
have normal : W *m C = W *m K *m K^T by rewrite mulmxA.
move=> feasX; rewrite !mulmxBl; split; first exact: (eqn4_optimal C_unit normal feasX).
apply/eqP/eqP => [same|-> //]; apply: (eqn4_unique C_unit normal feasX).
by rewrite /loss same.
Qed.

(* Lagrange's condition is necessary too. *)
Theorem eqn4_iff_eqn17 (V : 'M[R]_(m, N)) (X : 'M[R]_(m, n)) : X *m k = v ->
  (forall Y, Y *m k = v -> loss K V X <= loss K V Y) <-> (exists L, stationary K V k X L).
Proof.
move=> feasX; split=> [optX|[L statX]]; last exact: stationary_optimal statX feasX.
have normal0 : V *m K^T *m invmx C *m C = V *m K^T by rewrite mulmxKV.
have feas0 := feasible_if_possible (V *m K^T *m invmx C) C_unit feasX.
rewrite (eqn4_unique C_unit normal0 feasX (optX _ feas0)).
by exists (multiplier C (V *m K^T *m invmx C) k v); exact: eqn17_stationary.
Qed.

(* For which W the formula solves Eqn. 4: the rows of the gradient W C - V K^T lie along k^T. *)
Theorem eqn4_optimal_iff (V : 'M[R]_(m, N)) (W : 'M[R]_(m, n)) : k != 0 ->
  (forall X, X *m k = v -> loss K V (inserted C W k v) <= loss K V X) <->
  (exists L : 'cV[R]_m, W *m C - V *m K^T = L *m k^T).
Proof.
move=> k0; rewrite (eqn4_iff_eqn17 V (eqn13_feasible W v C_unit k0)).
have := eqn18_change W k v C_unit; rewrite mulmxBl -/C.
set a := inserted C W k v *m C; set b := W *m C; set d := V *m K^T => change.
split=> [[L statL]|[L alongL]].
  exists (L - multiplier C W k v); rewrite mulmxBl -change.
  by rewrite /stationary -/a -/d in statL; rewrite statL opprB [RHS]addrC opprD addrA subrK.
exists (L + multiplier C W k v); rewrite /stationary -/a -/d mulmxDl -alongL -change.
by rewrite addrA [d + _]addrC subrK addrC subrK.
Qed.

End AnyWeight.

(* The scale of C does not matter: the sum of the k k^T and their mean give one insertion. No
   symmetry and no inverse is needed, and none of W. *)
Theorem scale_free m n (C : 'M[R]_n) (W : 'M[R]_(m, n)) k v a :
  a != 0 -> inserted (a *: C) W k v = inserted C W k v.
Proof.
move=> a0; have [b b0 inv] : exists2 b, b != 0 & invmx (a *: C) = b *: invmx C.
  have aC : (a *: C \in unitmx) = (C \in unitmx) by rewrite unitmxZ ?unitfE.
  have [Cu|Cu] := boolP (C \in unitmx); last by exists a; rewrite // !invmx_out ?inE ?aC.
  by exists a^-1; rewrite ?invr_eq0 // invmxZ ?aC.
rewrite /inserted /multiplier /divisor inv -scalemxAr -!scalemxAl mxE invfM.
by rewrite linearZ /= -[in LHS]scalemxAr scalerA mulrAC mulVf ?mul1r.
Qed.

End Insertion.
