(* Eqn. 20-22: the insertion as the solution of a block system, for e keys and for one. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Rome Require Import norm moment objective insertion batch.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section BlockSystem.
Variable R : realFieldType.
Variables (m n N e : nat) (K : 'M[R]_(n, N)) (V : 'M[R]_(m, N)).
Variables (W : 'M[R]_(m, n)) (Ks : 'M[R]_(n, e)) (Vs : 'M[R]_(m, e)).
Implicit Types (X : 'M[R]_(m, n)) (L : 'M[R]_(m, e)).
Let C : 'M[R]_n := K *m K^T.
Let Lambda := multipliers C W Ks Vs.
Let What := inserted_many C W Ks Vs.
Let u : 'M[R]_(n, e) := invmx C *m Ks.

Hypothesis C_unit : C \in unitmx.
Hypothesis independent : \rank Ks = e.

(* Eqn. 13 and 17 side by side. Here W is the least-squares solution. *)
Theorem eqn20_block_system X L : W *m C = V *m K^T ->
  row_mx X L *m block_mx C Ks (- Ks^T) 0 = row_mx (V *m K^T) Vs <-> X = What /\ L = Lambda.
Proof.
move=> normal; rewrite -(many_only_solution Vs C_unit independent normal).
rewrite mul_row_block mulmx0 addr0 mulmxN; split=> [/eq_row_mx [E ->]|[E ->]].
  by split=> //; rewrite /stationary -E subrK.
by rewrite /C E addrK.
Qed.

(* The first block column times C^-1: W itself is on the right, and it may be any matrix. *)
Definition system : 'M[R]_(n + e) := block_mx 1%:M Ks (- u^T) 0.

Definition system_inverse : 'M[R]_(n + e) :=
  let Gi := invmx (gram C Ks) in
  block_mx (1%:M - Ks *m Gi *m u^T) (- (Ks *m Gi)) (Gi *m u^T) Gi.

Theorem eqn22_inverse : system *m system_inverse = 1%:M.
Proof.
have uKs : u^T *m Ks = gram C Ks by rewrite /u transposed_direction.
rewrite /system /system_inverse mulmx_block scalar_mx_block !mul1mx !mul0mx !addr0.
rewrite !mulmxA subrK addNr; congr (block_mx _ _ _ _).
  rewrite mulmxBr mulmx1 !mulNmx !mulmxA uKs.
  by rewrite mulmxV ?gram_unit // mul1mx opprK addNr.
by rewrite mulNmx mulmxN opprK mulmxA uKs mulmxV ?gram_unit.
Qed.

Theorem eqn21_block_system X L :
  row_mx X L *m system = row_mx W Vs <-> X = What /\ L = Lambda.
Proof.
have sol : row_mx What Lambda *m system = row_mx W Vs.
  rewrite /system mul_row_block mulmx1 mulmx0 addr0 many_feasible //.
  by rewrite mulmxN {1}/What /inserted_many addrK.
split=> [|[-> ->] //]; rewrite -sol.
move/(congr1 (mulmx^~ system_inverse)); rewrite -!mulmxA eqn22_inverse !mulmx1.
by move/eq_row_mx.
Qed.

(* "We need only the last column": it yields Lambda. *)
Theorem eqn22_last_column : rsubmx (row_mx W Vs *m system_inverse) = Lambda.
Proof.
rewrite /system_inverse mul_row_block row_mxKr mulmxN mulmxA addrC.
by rewrite /Lambda /multipliers mulmxBl.
Qed.

End BlockSystem.

(* One key, as in the paper. *)
Theorem eqn21_one_key (R : realFieldType) m n N (K : 'M[R]_(n, N)) (W : 'M[R]_(m, n))
    (k : 'cV[R]_n) v X L : let C := K *m K^T in C \in unitmx -> k != 0 ->
  row_mx X L *m block_mx 1%:M k (- (invmx C *m k)^T) 0 = row_mx W v <->
  X = inserted C W k v /\ L = multiplier C W k v.
Proof.
move=> C C_unit k0; have [<- <-] := many_of_one K W k v.
exact: eqn21_block_system (rank_one_key k0) X L.
Qed.
