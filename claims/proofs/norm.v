(* The squared Frobenius norm |A|^2, in which the paper's objective (Eqn. 4) is written.

   R is any ordered field: the rationals, the reals. No root is taken, so none has to exist.
   ('M[R]_(m, n) is the type of m by n matrices over R, 'cV[R]_n that of columns, A^T is the
   transpose, *m the product of matrices and *: that of a number and a matrix.) *)
From mathcomp Require Import all_ssreflect all_algebra.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Norm.
Variable R : realFieldType.

Definition norm2 m n (A : 'M[R]_(m, n)) : R := \sum_i \sum_j A i j ^+ 2.

(* |A|^2 = tr (A A^T), the form that the proofs compute with. *)
Lemma norm2_trace m n (A : 'M[R]_(m, n)) : norm2 A = \tr (A *m A^T).
Proof.
rewrite /norm2 /mxtrace; apply: eq_bigr => i _.
by rewrite mxE; apply: eq_bigr => j _; rewrite mxE expr2.
Qed.

Lemma norm2_ge0 m n (A : 'M[R]_(m, n)) : 0 <= norm2 A.
Proof. by apply: sumr_ge0 => i _; apply: sumr_ge0 => j _; apply: sqr_ge0. Qed.

(* A sum of squares vanishes only if every square does. *)
Lemma norm2_eq0 m n (A : 'M[R]_(m, n)) : norm2 A = 0 -> A = 0.
Proof.
move=> A0; apply/matrixP => i j; rewrite mxE.
have row_ge0 a : 0 <= \sum_b A a b ^+ 2 by apply: sumr_ge0 => b _; apply: sqr_ge0.
have row0 : \sum_b A i b ^+ 2 = 0 by apply: (psumr_eq0P _ A0).
have : A i j ^+ 2 = 0 by apply: (psumr_eq0P _ row0) => // b _; apply: sqr_ge0.
by move/eqP; rewrite sqrf_eq0 => /eqP.
Qed.

(* |A + B|^2 = |A|^2 + 2 <A, B> + |B|^2. *)
Lemma norm2_add m n (A B : 'M[R]_(m, n)) :
  norm2 (A + B) = norm2 A + \tr (A *m B^T) *+ 2 + norm2 B.
Proof.
rewrite !norm2_trace linearD /= mulmxDl !mulmxDr !linearD /=.
have -> : \tr (B *m A^T) = \tr (A *m B^T) by rewrite -[RHS]mxtrace_tr trmx_mul trmxK.
by rewrite mulr2n !addrA.
Qed.

End Norm.
