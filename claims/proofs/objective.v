(* The objective |X K - V|^2 of Eqn. 4 under the constraint X K* = V* (Eqn. 13), for any number e
   of new keys, the columns of Ks; their values are the columns of Vs. Eqn. 14-17: the Lagrangian
   and its derivative. Then the theorem behind all the others, Pythagoras for the objective. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Rome Require Import norm moment.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Objective.
Variable R : realFieldType.
Variables (m n N e : nat) (K : 'M[R]_(n, N)) (V : 'M[R]_(m, N)).
Variables (Ks : 'M[R]_(n, e)) (Vs : 'M[R]_(m, e)).
Implicit Types X Y D : 'M[R]_(m, n).
Let C : 'M[R]_n := K *m K^T.

Definition loss X : R := norm2 (X *m K - V).

(* Twice the Lagrangian of Eqn. 14, which has a factor 1/2 before the norm. *)
Definition lagrangian L X : R := loss X - \tr (L^T *m (X *m Ks - Vs)) *+ 2.

(* Eqn. 17: the derivative of the Lagrangian is zero. *)
Definition stationary X L : Prop := X *m C = V *m K^T + L *m Ks^T.

Lemma loss_expand X D :
  loss (X + D) = loss X + \tr ((X *m C - V *m K^T) *m D^T) *+ 2 + norm2 (D *m K).
Proof.
rewrite /loss [(X + D) *m K]mulmxDl [X *m K + _ - _]addrAC norm2_add trmx_mul.
by rewrite [_ *m (K^T *m _)]mulmxA mulmxBl -[X *m K *m K^T]mulmxA.
Qed.

(* Eqn. 16: the term that is linear in D is 2 <X C - V K^T - L Ks^T, D>. The expansion is exact. *)
Theorem eqn16_derivative L X D :
  lagrangian L (X + D) = lagrangian L X
    + \tr ((X *m C - V *m K^T - L *m Ks^T) *m D^T) *+ 2 + norm2 (D *m K).
Proof.
have -> : \tr ((X *m C - V *m K^T - L *m Ks^T) *m D^T) =
          \tr ((X *m C - V *m K^T) *m D^T) - \tr (L^T *m (D *m Ks)).
  rewrite mulmxBl [LHS]linearB /=; congr (_ - _).
  by rewrite -[LHS]mxtrace_tr !trmx_mul !trmxK mulmxA mxtrace_mulC.
have split_constraint : L^T *m ((X + D) *m Ks - Vs) = L^T *m (X *m Ks - Vs) + L^T *m (D *m Ks).
  by rewrite -mulmxDr [(X + D) *m Ks]mulmxDl addrAC.
rewrite /lagrangian loss_expand split_constraint [\tr (_ + _)]linearD /= mulrnDl mulrnBl.
set a := loss X; set b := _ *+ 2; set c := norm2 _; set d := _ *+ 2; set f := _ *+ 2.
clearbody a b c d f.
by rewrite opprD !addrA [_ + c - d]addrAC [_ + c - f]addrAC [a + b - d]addrAC.
Qed.

(* Eqn. 17 and Eqn. 13 make the linear term vanish in every direction that stays feasible. *)
Theorem pythagoras X L Y :
  stationary X L -> X *m Ks = Vs -> Y *m Ks = Vs -> loss Y = loss X + norm2 ((Y - X) *m K).
Proof.
move=> statX feasX feasY.
have -> : loss Y = loss (X + (Y - X)) by rewrite addrC subrK.
rewrite loss_expand.
have -> : X *m C - V *m K^T = L *m Ks^T by rewrite statX addrC addKr.
rewrite -mulmxA -trmx_mul [(Y - X) *m Ks]mulmxBl.
by rewrite feasX feasY subrr trmx0 mulmx0 mxtrace0 mul0rn addr0.
Qed.

Theorem stationary_optimal X L :
  stationary X L -> X *m Ks = Vs -> forall Y, Y *m Ks = Vs -> loss X <= loss Y.
Proof.
move=> statX feasX Y feasY; rewrite (pythagoras statX feasX feasY).
by rewrite ler_addl norm2_ge0.
Qed.

(* Only here does C have to be invertible. *)
Theorem stationary_unique X L : C \in unitmx ->
  stationary X L -> X *m Ks = Vs -> forall Y, Y *m Ks = Vs -> loss Y <= loss X -> Y = X.
Proof.
move=> C_unit statX feasX Y feasY; rewrite (pythagoras statX feasX feasY) ger_addl => le0.
have /norm2_eq0/(keys_span C_unit)/eqP: norm2 ((Y - X) *m K) = 0.
  by apply/eqP; rewrite eq_le le0 norm2_ge0.
by rewrite subr_eq0 => /eqP.
Qed.

End Objective.

(* The normal equations W C = V K^T, from which the paper starts, say that W is a least-squares
   solution: it minimises the objective without any constraint (e = 0). *)
Theorem normal_equations (R : realFieldType) m n N (K : 'M[R]_(n, N)) (V : 'M[R]_(m, N))
    (W : 'M[R]_(m, n)) : K *m K^T \in unitmx ->
  W *m (K *m K^T) = V *m K^T <-> (forall X, loss K V W <= loss K V X).
Proof.
move=> C_unit; pose none := (0 : 'M[R]_(n, 0)).
have free (X : 'M[R]_(m, n)) : X *m none = 0 by rewrite mulmx0.
have stat X : X *m (K *m K^T) = V *m K^T -> stationary K V none X 0.
  by rewrite /stationary mul0mx addr0.
split=> [neW X|minW]; first exact: (stationary_optimal (stat _ neW) (free W) (free X)).
have ne0 : V *m K^T *m invmx (K *m K^T) *m (K *m K^T) = V *m K^T by rewrite mulmxKV.
by rewrite (stationary_unique C_unit (stat _ ne0) (free _) (free W) (minW _)).
Qed.
