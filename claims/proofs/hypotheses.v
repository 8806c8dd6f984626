(* Every hypothesis is needed: without it the statement is proved false on the smallest example,
   or proved true in a form that does not need it. In MathComp the inverse of 0 is 0 and that of a
   singular matrix the matrix itself. The examples do not depend on this convention: they have no
   solution at all, or a singular C that is its own pseudo-inverse. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Rome Require Import norm moment objective insertion batch sequence.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Hypotheses.
Variable R : realFieldType.

(* The two unit columns of R^2, the two unit rows, and their sum. *)
Let e1 : 'cV[R]_2 := delta_mx 0 0.
Let e2 : 'cV[R]_2 := delta_mx 1 0.
Let r1 : 'rV[R]_2 := delta_mx 0 0.
Let r2 : 'rV[R]_2 := delta_mx 0 1.

Let r1e1 : r1 *m e1 = 1%:M. Proof. by rewrite mul_delta_mx [LHS]mx11_scalar mxE. Qed.
Let r2e2 : r2 *m e2 = 1%:M. Proof. by rewrite mul_delta_mx [LHS]mx11_scalar mxE. Qed.
Let r2e1 : r2 *m e1 = 0. Proof. by rewrite mul_delta_mx_0. Qed.
Let r1e2 : r1 *m e2 = 0. Proof. by rewrite mul_delta_mx_0. Qed.
Let one_neq0 : (1%:M : 'M[R]_1) != 0. Proof. exact: oner_neq0. Qed.
Let r1_neq0 : r1 != 0. Proof. by apply: contraNneq one_neq0 => r0; rewrite -r1e1 r0 mul0mx. Qed.
Let r2_neq0 : r2 != 0. Proof. by apply: contraNneq one_neq0 => r0; rewrite -r2e2 r0 mul0mx. Qed.
Let e1_neq0 : e1 != 0. Proof. by apply: contraNneq one_neq0 => e0; rewrite -r1e1 e0 mulmx0. Qed.
Let e2_neq0 : e2 != 0. Proof. by apply: contraNneq one_neq0 => e0; rewrite -r2e2 e0 mulmx0. Qed.

Lemma norm2_gt0 m n (A : 'M[R]_(m, n)) : A != 0 -> 0 < norm2 A.
Proof.
move=> A0; rewrite lt_neqAle norm2_ge0 andbT eq_sym.
by apply: contra A0 => /eqP /norm2_eq0 ->.
Qed.

Lemma norm2_0 m n : norm2 (0 : 'M[R]_(m, n)) = 0.
Proof. by rewrite norm2_trace mul0mx linear0. Qed.

(* k != 0. A zero key has divisor 0, the formula changes nothing, and no matrix gives it a value. *)
Theorem zero_key m n (C : 'M[R]_n) (W X : 'M[R]_(m, n)) (v : 'cV[R]_m) : v != 0 ->
  [/\ divisor C 0 = 0, inserted C W 0 v = W & X *m 0 != v].
Proof.
move=> v0; split; first by rewrite /divisor mulmx0 mxE.
  by rewrite /inserted mulmx0 trmx0 mulmx0 addr0.
by rewrite mulmx0 eq_sym.
Qed.

(* W C = V K^T. Another W gives a feasible matrix that is worse than 0, so it is not optimal, not
   the only optimum and, by `stationary_optimal`, not stationary. *)
Theorem not_least_squares :
  exists (K : 'M[R]_2) (V W X : 'rV[R]_2) (k : 'cV[R]_2) (v : 'cV[R]_1),
    let C := K *m K^T in
    [/\ C \in unitmx, k != 0, X *m k = v & loss K V X < loss K V (inserted C W k v)].
Proof.
exists 1%:M, 0, r2, 0, e1, 0; rewrite trmx1 mulmx1; split=> //; rewrite ?unitmx1 ?mul0mx //.
have -> : inserted 1%:M r2 e1 0 = r2.
  by rewrite /inserted /multiplier r2e1 subrr scaler0 mul0mx addr0.
by rewrite /loss mul0mx mulmx1 !subr0 norm2_0 norm2_gt0.
Qed.

(* ... and an insertion may even lower the loss of a W that is not the best. *)
Theorem not_least_squares_increase : exists (K V W k v : 'M[R]_1),
  let C := K *m K^T in
  [/\ C \in unitmx, k != 0 & loss K V (inserted C W k v) < loss K V W].
Proof.
exists 1%:M, 1%:M, 0, 1%:M, 1%:M => C; have Cu : C \in unitmx by rewrite /C trmx1 mulmx1 unitmx1.
split=> //; have := eqn13_feasible 0 1%:M Cu one_neq0; rewrite /loss mulmx1 => ->.
by rewrite mulmx1 subrr norm2_0 sub0r norm2_gt0 // oppr_eq0.
Qed.

(* C invertible, 1. All but uniqueness needs only a u with C u = k. *)
Theorem any_direction m n N (K : 'M[R]_(n, N)) (V : 'M[R]_(m, N)) (W : 'M[R]_(m, n))
    (k u : 'cV[R]_n) (v : 'cV[R]_m) :
  let C := K *m K^T in
  let X := W + ((k^T *m u) 0 0)^-1 *: ((v - W *m k) *m u^T) in
  C *m u = k -> k != 0 -> W *m C = V *m K^T ->
  [/\ 0 < (k^T *m u) 0 0, X *m k = v & forall Y, Y *m k = v -> loss K V X <= loss K V Y].
Proof.
move=> C X Cu k0 normal; have uC : u^T *m C = k^T by rewrite -Cu trmx_mul moment_sym.
have square : (k^T *m u) 0 0 = norm2 (u^T *m K).
  by rewrite norm2_trace trmx_mul trmxK mulmxA -[u^T *m K *m _]mulmxA uC /mxtrace big_ord1.
have pos : 0 < (k^T *m u) 0 0.
  rewrite square norm2_gt0 //; apply: contra k0 => /eqP uK0.
  by rewrite -[k]trmxK -uC /C mulmxA uK0 mul0mx trmx0.
have uk : u^T *m k = ((k^T *m u) 0 0)%:M.
  by rewrite -[LHS]trmxK trmx_mul trmxK {1}[k^T *m u]mx11_scalar tr_scalar_mx.
have feas : X *m k = v.
  rewrite /X mulmxDl -scalemxAl -mulmxA uk mul_mx_scalar scalerA mulVf ?lt0r_neq0 //.
  by rewrite scale1r addrC subrK.
split=> //; apply: (stationary_optimal _ feas).
by rewrite /stationary /X mulmxDl normal scalemxAl -mulmxA uC.
Qed.

(* The singular C of the one old key e1. It is its own pseudo-inverse. *)
Let K1 : 'M[R]_2 := delta_mx 0 0.
Let C1 : K1 *m K1^T = K1. Proof. by rewrite trmx_delta mul_delta_mx. Qed.
Let singular : K1 \notin unitmx.
Proof.
apply: contraNN e2_neq0 => /unit_iff/(_ e2); rewrite mul_delta_mx_0 // => /(_ erefl) ->.
exact: eqxx.
Qed.

(* C invertible, 2. A key that the old keys do not span: the divisor of a key that is not zero is
   zero, there is no u, and the formula does not insert. *)
Theorem singular_divisor : exists (K : 'M[R]_2) (k : 'cV[R]_2),
  [/\ k != 0, forall u, K *m K^T *m u != k, divisor (K *m K^T) k = 0 &
      inserted (K *m K^T) 0 k (1%:M : 'M_1) *m k != 1%:M].
Proof.
have flat : invmx K1 *m e2 = 0 by rewrite invmx_out ?inE // mul_delta_mx_0.
exists K1, e2; rewrite C1; split=> //.
- move=> u; apply: contraNneq one_neq0 => ue; rewrite -r2e2 -ue mulmxA.
  by rewrite mul_delta_mx_0 // mul0mx.
- by rewrite /divisor -mulmxA flat mulmx0 mxE.
by rewrite /inserted flat trmx0 mulmx0 addr0 mul0mx eq_sym.
Qed.

(* C invertible, 3. The pseudo-inverse in its place gives a feasible matrix that is not optimal. *)
Theorem singular_optimal :
  exists (K : 'M[R]_2) (V W X : 'rV[R]_2) (k : 'cV[R]_2) (v : 'cV[R]_1),
    let C := K *m K^T in let What := inserted C W k v in
    [/\ k != 0, W *m C = V *m K^T, What *m k = v, X *m k = v & loss K V X < loss K V What].
Proof.
have Ck : invmx K1 *m (e1 + e2) = e1.
  by rewrite invmx_out ?inE // mulmxDr mul_delta_mx mul_delta_mx_0 // addr0.
have r1k : r1 *m (e1 + e2) = 1%:M by rewrite mulmxDr r1e1 r1e2 addr0.
have r2k : r2 *m (e1 + e2) = 1%:M by rewrite mulmxDr r2e1 r2e2 add0r.
have d1 : divisor K1 (e1 + e2) = 1.
  by rewrite /divisor -mulmxA Ck linearD /= !trmx_delta -/r1 -/r2 mulmxDl r1e1 r2e1 addr0 mxE eqxx.
have What : inserted K1 0 (e1 + e2) 1%:M = r1.
  by rewrite /inserted /multiplier d1 Ck invr1 scale1r mul0mx subr0 mul1mx trmx_delta add0r.
exists K1, 0, 0, r2, (e1 + e2), 1%:M; rewrite /= C1 What; split=> //.
- by apply: contraNneq one_neq0 => k0; rewrite -r1k k0 mulmx0.
- by rewrite !mul0mx.
rewrite /loss !subr0 mul_delta_mx_0 // mul_delta_mx norm2_0.
exact: norm2_gt0.
Qed.

(* C invertible, 4. Without it the optimum is not unique: a step across the old keys and the new
   one costs nothing. *)
Theorem singular_unique :
  exists (K : 'M[R]_2) (V W Y : 'rV[R]_2) (k : 'cV[R]_2) (v : 'cV[R]_1),
    let What := inserted (K *m K^T) W k v in
    [/\ k != 0, W *m (K *m K^T) = V *m K^T, What *m k = v /\ Y *m k = v,
        loss K V Y <= loss K V What & Y != What].
Proof.
have What : inserted K1 (0 : 'rV_2) e1 0 = 0.
  by rewrite /inserted /multiplier mul0mx subrr scaler0 mul0mx addr0.
exists K1, 0, 0, r2, e1, 0; rewrite C1 What; split; rewrite ?mul0mx //.
by rewrite /loss !subr0 mul0mx mul_delta_mx_0.
Qed.

(* Independent keys. One key with two values: no matrix at all. *)
Theorem dependent_keys : exists (Ks Vs : 'M[R]_(1, 2)), forall X, X *m Ks != Vs.
Proof.
exists (r1 + r2), r1 => X; apply: contraNneq one_neq0 => E.
have : X *m ((r1 + r2) *m (e1 - e2)) = r1 *m (e1 - e2) by rewrite mulmxA E.
rewrite mulmxDl !mulmxBr r1e1 r1e2 r2e1 r2e2 subr0 sub0r subrr mulmx0 => <-.
exact: eqxx.
Qed.

(* a != 0 in `scale_free`. A zero in place of C inserts nothing. *)
Theorem zero_scale m n (C : 'M[R]_n.+1) (W : 'M[R]_(m, n.+1)) k v : inserted (0 *: C) W k v = W.
Proof.
have inv0 : invmx (0 : 'M[R]_n.+1) = 0.
  have out : (0 : 'M[R]_n.+1) \notin unitmx by rewrite unitmxE det0 unitr0.
  by rewrite invmx_out ?inE.
by rewrite scale0r /inserted inv0 mul0mx trmx0 mulmx0 addr0.
Qed.

(* An ordered field. Modulo 2 the divisor can vanish for C = 1 and k != 0. *)
Theorem order_needed : exists k : 'cV['F_2]_2, k != 0 /\ k^T *m invmx (1%:M *m 1%:M^T) *m k = 0.
Proof.
exists (const_mx 1); rewrite trmx1 mulmx1 invmx1 mulmx1; split.
  by apply/eqP => /matrixP/(_ 0 0)/eqP; rewrite !mxE.
by apply/matrixP => i j; rewrite !mxE !big_ord_recl big_ord0 !mxE; apply/eqP.
Qed.

(* The first of two insertions can be lost, also for independent keys. *)
Theorem first_lost : exists (K : 'M[R]_2) (W : 'rV[R]_2) (k1 k2 : 'cV[R]_2) (v1 v2 : 'cV[R]_1),
  let C := K *m K^T in
  [/\ C \in unitmx, \rank (row_mx k1 k2) = 2%N & inserted C (inserted C W k1 v1) k2 v2 *m k1 != v1].
Proof.
pose k2 := e1 + e2; exists 1%:M, 0, e1, k2, 1%:M, 0 => C.
have C_1 : C = 1%:M by rewrite /C trmx1 mul1mx.
have Cu : C \in unitmx by rewrite C_1 unitmx1.
have r1k2 : r1 *m k2 = 1%:M by rewrite mulmxDr r1e1 r1e2 addr0.
split=> //.
  apply/rank_full_iff => z; rewrite -[z]vsubmxK mul_row_col => zero.
  have z2 : dsubmx z = 0.
    have := congr1 (mulmx r2) zero.
    by rewrite mulmxDr !mulmxA r2e1 mul0mx add0r mulmxDr r2e1 r2e2 add0r mul1mx mulmx0.
  have := congr1 (mulmx r1) zero.
  by rewrite z2 mulmx0 addr0 mulmxA r1e1 mul1mx mulmx0 => ->; rewrite col_mx0.
have inv1 : invmx C = 1%:M by rewrite C_1 invmx1.
have W1 : inserted C (0 : 'rV_2) e1 1%:M = r1.
  rewrite /inserted /multiplier /divisor inv1 mulmx1 mul1mx trmx_delta r1e1 mxE eqxx invr1.
  by rewrite scale1r mul0mx subr0 mul1mx add0r.
apply/eqP => /(@first_kept_iff _ _ _ _ 1%:M 0 e1 k2 1%:M 0 Cu e1_neq0) []; rewrite -/C ?W1.
  by move/eqP; rewrite r1k2 eq_sym (negPf one_neq0).
rewrite /overlap -/C inv1 mulmx1 linearD /= !trmx_delta -/r1 -/r2 mulmxDl r1e1 r2e1 addr0 mxE.
by move/eqP; rewrite oner_eq0.
Qed.

(* The wrong formulas do not insert: the other sign, and no divisor. *)
Theorem wrong_sign m n N (K : 'M[R]_(n, N)) (W : 'M[R]_(m, n)) k v : let C := K *m K^T in
  C \in unitmx -> k != 0 -> (W - (inserted C W k v - W)) *m k = v <-> v = W *m k.
Proof.
move=> C Cu k0; rewrite mulmxBl mulmxBl eqn13_feasible //.
split=> [E|->]; last by rewrite subrr subr0.
have : v - W *m k = - (v - W *m k) by rewrite -{1}E addrAC subrr sub0r.
by move/eqP; rewrite -addr_eq0 -mulr2n -scaler_nat scaler_eq0 pnatr_eq0 /= subr_eq0 => /eqP.
Qed.

Theorem no_divisor m n N (K : 'M[R]_(n, N)) (W : 'M[R]_(m, n)) k v : let C := K *m K^T in
  C \in unitmx -> (W + (v - W *m k) *m (invmx C *m k)^T) *m k = v <-> v = W *m k \/ divisor C k = 1.
Proof.
move=> C Cu.
have -> : (W + (v - W *m k) *m (invmx C *m k)^T) *m k = W *m k + divisor C k *: (v - W *m k).
  by rewrite [LHS]mulmxDl -mulmxA transposed_direction [k^T *m _ *m k]mx11_scalar mul_mx_scalar.
split=> [E|[->|->]]; [|by rewrite subrr scaler0 addr0 | by rewrite scale1r addrC subrK].
have : (divisor C k - 1) *: (v - W *m k) = 0.
  by rewrite scalerBl scale1r opprB addrA [_ + W *m k]addrC E subrr.
by move/eqP; rewrite scaler_eq0 !subr_eq0 => /orP [/eqP|/eqP]; [right | left].
Qed.

End Hypotheses.
