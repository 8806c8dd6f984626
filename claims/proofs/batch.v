(* Many pairs at once: the columns of Ks are the new keys, those of Vs their values. Everything is
   as for one pair, with the Gram matrix of the keys, Ks^T C^-1 Ks, in place of k^T C^-1 k. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Rome Require Import norm moment objective insertion.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Batch.
Variable R : realFieldType.

Definition gram n e (C : 'M[R]_n) (Ks : 'M[R]_(n, e)) : 'M[R]_e := Ks^T *m invmx C *m Ks.

Definition multipliers m n e (C : 'M[R]_n) (W : 'M[R]_(m, n)) (Ks : 'M[R]_(n, e))
    (Vs : 'M[R]_(m, e)) : 'M[R]_(m, e) :=
  (Vs - W *m Ks) *m invmx (gram C Ks).

Definition inserted_many m n e (C : 'M[R]_n) (W : 'M[R]_(m, n)) (Ks : 'M[R]_(n, e))
    (Vs : 'M[R]_(m, e)) : 'M[R]_(m, n) :=
  W + multipliers C W Ks Vs *m (invmx C *m Ks)^T.

Lemma many_difference m n e (C : 'M[R]_n) (W : 'M[R]_(m, n)) (Ks : 'M[R]_(n, e)) (Vs : 'M[R]_(m, e)) :
  inserted_many C W Ks Vs - W = multipliers C W Ks Vs *m (invmx C *m Ks)^T.
Proof. by rewrite /inserted_many addrC addKr. Qed.

(* Independent columns, and a square matrix with independent columns. *)
Lemma rank_full_iff n e (A : 'M[R]_(n, e)) :
  \rank A = e <-> (forall z : 'cV_e, A *m z = 0 -> z = 0).
Proof.
split=> [rankA z Az0|ker0].
  have /row_fullP [B BA] : row_full A by rewrite /row_full rankA.
  by rewrite -[z]mul1mx -BA -mulmxA Az0 mulmx0.
rewrite -mxrank_tr; apply/eqP; rewrite -/(row_free _) -kermx_eq0.
apply/eqP/row_matrixP => i; rewrite row0; apply: trmx_inj; rewrite trmx0.
by apply: ker0; apply: trmx_inj; rewrite trmx_mul trmxK -row_mul mulmx_ker row0 trmx0.
Qed.

Lemma unit_iff e (A : 'M[R]_e) : A \in unitmx <-> (forall z : 'cV_e, A *m z = 0 -> z = 0).
Proof.
rewrite -rank_full_iff -row_full_unit; split=> [/eqP //|/eqP]; exact.
Qed.

Lemma inverse_product n (A B : 'M[R]_n) :
  A \in unitmx -> B \in unitmx -> invmx (A *m B) = invmx B *m invmx A.
Proof.
move=> Au Bu; have ABu : A *m B \in unitmx by rewrite unitmx_mul Au.
by rewrite -[RHS](mulKmx ABu) -[A *m B *m _]mulmxA mulKVmx // mulmxV // mulmx1.
Qed.

Section ManyPairs.
Variables (m n N e : nat) (K : 'M[R]_(n, N)) (V : 'M[R]_(m, N)).
Variables (W : 'M[R]_(m, n)) (Ks : 'M[R]_(n, e)) (Vs : 'M[R]_(m, e)).
Implicit Types X Y : 'M[R]_(m, n).
Let C : 'M[R]_n := K *m K^T.
Let Lambda := multipliers C W Ks Vs.
Let What := inserted_many C W Ks Vs.

Hypothesis C_unit : C \in unitmx.

Theorem many_change : (What - W) *m C = Lambda *m Ks^T.
Proof. by rewrite many_difference -mulmxA transposed_direction mulmxKV. Qed.

(* z^T G z = (Ks z)^T C^-1 (Ks z). *)
Lemma gram_form (z : 'cV[R]_e) : divisor C (Ks *m z) = (z^T *m gram C Ks *m z) 0 0.
Proof. by rewrite /divisor /gram trmx_mul !mulmxA. Qed.

(* The matrix that has to be inverted is invertible for independent keys, and for no others. *)
Theorem gram_unit_iff : gram C Ks \in unitmx <-> \rank Ks = e.
Proof.
rewrite unit_iff rank_full_iff; split=> ker0 z zero; apply: ker0.
  by rewrite /gram -mulmxA zero mulmx0.
by apply: (divisor_eq0 C_unit); rewrite gram_form -mulmxA zero mulmx0 mxE.
Qed.

Hypothesis independent : \rank Ks = e.

Lemma gram_unit : gram C Ks \in unitmx.
Proof. exact/gram_unit_iff. Qed.

Theorem gram_positive (z : 'cV[R]_e) : z != 0 -> 0 < (z^T *m gram C Ks *m z) 0 0.
Proof.
move=> z0; rewrite -gram_form; apply: divisor_gt0 => //.
by apply: contra z0 => /eqP /(proj1 (rank_full_iff Ks) independent) ->.
Qed.

Theorem many_feasible : What *m Ks = Vs.
Proof.
rewrite /What /inserted_many mulmxDl -mulmxA transposed_direction -/(gram C Ks).
by rewrite mulmxKV ?gram_unit // addrC subrK.
Qed.

Section LeastSquares.
Hypothesis normal : W *m C = V *m K^T.

Theorem many_stationary : stationary K V Ks What Lambda.
Proof. by rewrite /stationary -many_change mulmxBl -normal addrC subrK. Qed.

Theorem many_optimal X : X *m Ks = Vs -> loss K V What <= loss K V X.
Proof. exact: (stationary_optimal many_stationary many_feasible). Qed.

Theorem many_unique X : X *m Ks = Vs -> loss K V X <= loss K V What -> X = What.
Proof. exact: (stationary_unique C_unit many_stationary many_feasible). Qed.

Theorem many_only_solution X (L : 'M[R]_(m, e)) :
  stationary K V Ks X L /\ X *m Ks = Vs <-> X = What /\ L = Lambda.
Proof.
split=> [[statX feasX]|[-> ->]]; last by split; [exact: many_stationary | exact: many_feasible].
have XW : X = What.
  by apply: many_unique => //; apply: (stationary_optimal statX feasX); exact: many_feasible.
split=> //; move: statX; rewrite XW /stationary many_stationary => /addrI.
move/(congr1 (fun M => M *m invmx C *m Ks)); rewrite -!mulmxA (mulmxA Ks^T) -/(gram C Ks).
by rewrite mulVmx ?gram_unit // mulmx1 /Lambda /multipliers => ->; rewrite mulmxK ?gram_unit.
Qed.

(* loss What = loss W + tr (D G^-1 D^T), where D = Vs - W Ks is what W misses. *)
Theorem many_loss_increase : loss K V What = loss K V W
  + \tr ((Vs - W *m Ks) *m invmx (gram C Ks) *m (Vs - W *m Ks)^T).
Proof.
have none : stationary K V (0 : 'M_(n, 0)) W 0 by rewrite /stationary mul0mx addr0.
rewrite (pythagoras (Vs := 0) none) ?mulmx0 //; congr (_ + _).
rewrite norm2_trace trmx_mul mulmxA -[_ *m K *m K^T]mulmxA -/C many_change.
by rewrite -mulmxA -trmx_mul mulmxBl many_feasible.
Qed.

End LeastSquares.

(* Pairs may be mixed: the keys Ks A with the values Vs A ask for the same, if A is invertible. *)
Theorem many_recombined (A : 'M[R]_e) :
  A \in unitmx -> inserted_many C W (Ks *m A) (Vs *m A) = What.
Proof.
move=> A_unit; have gramA : gram C (Ks *m A) = A^T *m (gram C Ks *m A).
  by rewrite /gram trmx_mul !mulmxA.
rewrite /What /inserted_many /multipliers gramA mulmxA -mulmxBl.
rewrite !inverse_product ?unitmx_mul ?unitmx_tr ?A_unit ?gram_unit //.
by rewrite [invmx C *m (Ks *m A)]mulmxA [(_ *m A)^T]trmx_mul !mulmxA mulmxK // mulmxKV ?unitmx_tr.
Qed.

End ManyPairs.

(* Whatever W is, among all X with X Ks = Vs it is What alone that changes W K least. *)
Theorem many_least_change m n N e (K : 'M[R]_(n, N)) (W X : 'M[R]_(m, n))
    (Ks : 'M[R]_(n, e)) (Vs : 'M[R]_(m, e)) :
  let C := K *m K^T in C \in unitmx -> \rank Ks = e -> X *m Ks = Vs ->
  norm2 ((inserted_many C W Ks Vs - W) *m K) <= norm2 ((X - W) *m K)
    ?= iff (X == inserted_many C W Ks Vs).
Proof.
move=> C C_unit independent feasX.
have normal : W *m C = W *m K *m K^T by rewrite mulmxA.
rewrite !mulmxBl; split; first exact: (many_optimal C_unit independent normal feasX).
apply/eqP/eqP => [same|-> //]; apply: (many_unique C_unit independent normal feasX).
by rewrite /loss same.
Qed.

(* In another basis of the keys, P k for k, the insertion is the same map. *)
Theorem change_of_basis m n e (C P : 'M[R]_n) (W : 'M[R]_(m, n)) (Ks : 'M[R]_(n, e)) (Vs : 'M[R]_(m, e)) :
  C \in unitmx -> P \in unitmx ->
  inserted_many (P *m C *m P^T) (W *m invmx P) (P *m Ks) Vs = inserted_many C W Ks Vs *m invmx P.
Proof.
move=> C_unit P_unit; have dir : invmx (P *m C *m P^T) *m (P *m Ks) = (invmx P)^T *m (invmx C *m Ks).
  rewrite !inverse_product ?unitmx_mul ?unitmx_tr ?C_unit ?P_unit // -trmx_inv -!mulmxA.
  by rewrite mulKmx.
have same : gram (P *m C *m P^T) (P *m Ks) = gram C Ks.
  rewrite /gram -mulmxA dir trmx_mul -!mulmxA (mulmxA P^T) -trmx_mul.
  by rewrite mulVmx // trmx1 mul1mx.
rewrite /inserted_many /multipliers same dir [((invmx P)^T *m _)^T]trmx_mul trmxK [RHS]mulmxDl.
by rewrite [W *m invmx P *m _]mulmxA mulmxKV // !mulmxA.
Qed.

(* One pair is the case e = 1. *)
Theorem many_of_one m n N (K : 'M[R]_(n, N)) (W : 'M[R]_(m, n)) (k : 'cV[R]_n) v :
  let C := K *m K^T in
  multipliers C W k v = multiplier C W k v /\ inserted_many C W k v = inserted C W k v.
Proof.
move=> C; have same : multipliers C W k v = multiplier C W k v.
  have -> : multipliers C W k v = (v - W *m k) *m invmx (divisor C k)%:M.
    by rewrite /multipliers [gram C k]mx11_scalar.
  by rewrite invmx_scalar mul_mx_scalar.
by rewrite /inserted_many same.
Qed.

Lemma rank_one_key n (k : 'cV[R]_n) : k != 0 -> \rank k = 1%N.
Proof. by move=> k0; apply/eqP; rewrite eqn_leq rank_leq_col lt0n mxrank_eq0. Qed.

End Batch.
